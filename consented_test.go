package msalredis_test

import (
	"slices"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// Entra ID's answers are for all that a user consented to. So two tokens serve one request, and the one that runs out first
// must not make anybody ask again: MSAL takes any that matches, also an expired one (storage.go, readAccessToken).
func TestTokenOfMoreScopesServesFewer(t *testing.T) {
	for name, first := range map[string]string{"one scope": userScope, "default": graph} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := w.addUsers(1)[0]
			a, b := w.instance(), w.instance()
			w.lasting(3 * time.Second)
			early := a.signIn(a.app(), u, first)
			w.lasting(time.Hour)
			wide, err := silent(t.Context(), a.app(), u.HomeAccountID(), mailScope)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(wide.GrantedScopes, userScope) {
				t.Fatalf("granted %v", wide.GrantedScopes)
			}
			waitUntil(early.ExpiresOn.Add(-5*time.Minute + time.Second))
			w.entra.ResetRequests()
			for _, i := range []*instance{a, b} {
				app := i.app()
				for range 20 {
					got, err := silent(t.Context(), app, u.HomeAccountID(), userScope)
					if err != nil {
						t.Fatal(err)
					}
					if got.AccessToken != wide.AccessToken {
						t.Fatal("not the token that still lives")
					}
				}
			}
			w.count(t, 0, "a token that serves is there")
		})
	}
}

// A family of apps shares a user's refresh token, also where each app's client is on another instance.
func TestFamilyOfApps(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	const sibling = "33333333-aaaa-4bbb-8ccc-000000000003"
	w.entra.AddApp(entratest.App{ClientID: publicID, Public: true, Family: "1"})
	w.entra.AddApp(entratest.App{ClientID: sibling, Public: true, Family: "1"})
	clientOf := func(i *instance, id string) public.Client {
		c, err := public.New(id, public.WithAuthority(w.entra.Authority(tenant)), public.WithCache(i.tokens), public.WithHTTPClient(i.http))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	signIn := func(c public.Client) public.Account {
		flow, err := c.AcquireTokenByDeviceCode(t.Context(), []string{userScope})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.entra.ApproveDevice(flow.Result.UserCode, u.Username); err != nil {
			t.Fatal(err)
		}
		r, err := flow.AuthenticationResult(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r.Account
	}
	a, b := w.instance(), w.instance()
	account := signIn(clientOf(a, publicID))
	signIn(clientOf(b, sibling))
	w.entra.ResetRequests()
	for _, id := range []string{publicID, sibling, publicID, sibling} {
		for _, i := range []*instance{a, b} {
			for _, scope := range []string{mailScope, "https://contoso.sharepoint.com/AllSites.Read"} {
				if _, err := clientOf(i, id).AcquireTokenSilent(t.Context(), []string{scope}, public.WithSilentAccount(account)); err != nil {
					t.Errorf("%.8s, %s: %v", id, scope, err)
				}
			}
		}
	}
	w.count(t, 4, "one request per app and resource")
	w.count(t, 0, "refused", func(r entratest.Request) bool { return r.Status != 200 })
}
