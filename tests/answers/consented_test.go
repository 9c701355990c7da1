package answers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// Entra ID's answers are for all that a user consented to. So two tokens serve one request, and the one that runs out
// first must not make anybody ask again: MSAL takes any that matches, also an expired one (storage.go,
// readAccessToken).
func TestTokenOfMoreScopesServesFewer(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{"one scope": harness.UserScope, "default": harness.GraphScope} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			a, b := w.Instance(), w.Instance()
			w.Lasting(3 * time.Second)
			early := a.SignIn(a.App(), u, first)
			w.Lasting(time.Hour)
			wide, err := harness.Silent(t.Context(), a.App(), u.HomeAccountID(), harness.MailScope)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(wide.GrantedScopes, harness.UserScope) {
				t.Fatalf("granted %v", wide.GrantedScopes)
			}
			harness.WaitUntil(early.ExpiresOn.Add(-5*time.Minute + time.Second))
			w.Entra.ResetRequests()
			for _, i := range []*harness.Instance{a, b} {
				app := i.App()
				for range 20 {
					got, err := harness.Silent(t.Context(), app, u.HomeAccountID(), harness.UserScope)
					if err != nil {
						t.Fatal(err)
					}
					if got.AccessToken != wide.AccessToken {
						t.Fatal("not the token that still lives")
					}
				}
			}
			w.Count(t, 0, "a token that serves is there")
		})
	}
}

// A family of apps shares a user's refresh token, also where each app's client is on another instance.
func TestFamilyOfApps(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	const sibling = "33333333-aaaa-4bbb-8ccc-000000000003"
	w.Entra.AddApp(entratest.App{ClientID: harness.PublicID, Public: true, Family: "1"})
	w.Entra.AddApp(entratest.App{ClientID: sibling, Public: true, Family: "1"})
	clientOf := func(i *harness.Instance, id string) public.Client {
		c, err := public.New(id, public.WithAuthority(w.Entra.Authority(harness.Tenant)), public.WithCache(i.Tokens),
			public.WithHTTPClient(i.HTTP))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	signIn := func(c public.Client) public.Account {
		flow, err := c.AcquireTokenByDeviceCode(t.Context(), []string{harness.UserScope})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Entra.ApproveDevice(flow.Result.UserCode, u.Username); err != nil {
			t.Fatal(err)
		}
		r, err := flow.AuthenticationResult(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r.Account
	}
	a, b := w.Instance(), w.Instance()
	account := signIn(clientOf(a, harness.PublicID))
	signIn(clientOf(b, sibling))
	w.Entra.ResetRequests()
	for _, id := range []string{harness.PublicID, sibling, harness.PublicID, sibling} {
		for _, i := range []*harness.Instance{a, b} {
			for _, scope := range []string{harness.MailScope, "https://contoso.sharepoint.com/AllSites.Read"} {
				_, err := clientOf(i, id).AcquireTokenSilent(t.Context(), []string{scope}, public.WithSilentAccount(account))
				if err != nil {
					t.Errorf("%.8s, %s: %v", id, scope, err)
				}
			}
		}
	}
	w.Count(t, 4, "one request per app and resource")
	w.Count(t, 0, "refused", func(r entratest.Request) bool { return r.Status != 200 })
}
