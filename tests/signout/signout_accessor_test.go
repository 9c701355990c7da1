package signout_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// ungated are an instance's clients with the accessor alone.
type ungated struct {
	*harness.Instance
	app    confidential.Client
	public public.Client
}

func newUngated(i *harness.Instance) ungated {
	i.World.T.Helper()
	base := i.World.Entra.Transport()
	i.World.T.Cleanup(base.CloseIdleConnections)
	client := &http.Client{Transport: base}
	c, err := public.New(harness.PublicID, public.WithAuthority(i.World.Entra.Authority(harness.Tenant)),
		public.WithCache(i.Tokens), public.WithHTTPClient(client))
	harness.Succeeds(i.World.T, err)
	return ungated{i, harness.NewApp(i.World.T, i.World.Entra.Authority(harness.Tenant), i.Tokens, client), c}
}

func (u ungated) silentPublic(user entratest.User) (string, error) {
	account := public.Account{HomeAccountID: user.HomeAccountID(), Environment: u.World.Entra.Host(),
		Realm: harness.Tenant, PreferredUsername: user.Username}
	r, err := u.public.AcquireTokenSilent(context.Background(), []string{harness.UserScope},
		public.WithSilentAccount(account))
	return r.AccessToken, err
}

func (u ungated) silentApp(user entratest.User) (string, error) {
	r, err := harness.Silent(context.Background(), u.app, user.HomeAccountID())
	return r.AccessToken, err
}

// ungatedSignIns are the ways to sign in, and how the token is asked for again.
var ungatedSignIns = map[string]struct {
	signIn func(ungated, entratest.User) string
	silent func(ungated, entratest.User) (string, error)
}{
	"authorization code": {func(i ungated, u entratest.User) string {
		return i.SignIn(i.app, u).AccessToken
	}, ungated.silentApp},
	"user_fic": {func(i ungated, u entratest.User) string {
		credential, err := i.World.Entra.FederatedCredential(harness.ClientID)
		harness.Succeeds(i.World.T, err)
		r, err := i.app.AcquireTokenByUserFederatedIdentityCredential(context.Background(),
			[]string{harness.UserScope}, credential, confidential.WithUserFICUsername(u.Username))
		harness.Succeeds(i.World.T, err)
		return r.AccessToken
	}, ungated.silentApp},
	"authorization code of a public client": {func(i ungated, u entratest.User) string {
		ctx := context.Background()
		link, err := i.public.AuthCodeURL(ctx, harness.PublicID, harness.RedirectURI, []string{harness.UserScope})
		harness.Succeeds(i.World.T, err)
		code, err := i.World.Entra.AuthorizeCode(link, u.Username)
		harness.Succeeds(i.World.T, err)
		r, err := i.public.AcquireTokenByAuthCode(ctx, code, harness.RedirectURI, []string{harness.UserScope})
		harness.Succeeds(i.World.T, err)
		return r.AccessToken
	}, ungated.silentPublic},
	"device code": {func(i ungated, u entratest.User) string {
		ctx := context.Background()
		device, err := i.public.AcquireTokenByDeviceCode(ctx, []string{harness.UserScope})
		harness.Succeeds(i.World.T, err)
		harness.Succeeds(i.World.T, i.World.Entra.ApproveDevice(device.Result.UserCode, u.Username))
		r, err := device.AuthenticationResult(ctx)
		harness.Succeeds(i.World.T, err)
		return r.AccessToken
	}, ungated.silentPublic},
}

// With the accessor alone too a sign-in after a sign-out is kept, whatever the instance where it comes knows of the
// account.
func TestSignInWithTheAccessorAloneIsKeptAfterASignOut(t *testing.T) {
	for name, way := range ungatedSignIns {
		for _, knows := range []string{"nothing", "another account", "the account, signed out"} {
			t.Run(fmt.Sprintf("%s, where the instance knows %s", name, knows), func(t *testing.T) {
				w := harness.NewWorld(t)
				users := w.AddUsers(2)
				u := users[0]
				never := func(o *msalredis.Options) { o.LocalTTL = time.Hour } // it learns from messages alone
				a, b, c := newUngated(w.Instance()), newUngated(w.Instance(never)), newUngated(w.Instance())
				old := way.signIn(a, u)
				listen := 1
				switch knows {
				case "another account":
					way.signIn(b, users[1])
					listen++
				case "the account, signed out":
					old = way.signIn(b, u)
					listen++
				}
				w.Listening(t, listen)
				harness.Succeeds(t, a.Tokens.RemoveAccount(context.Background(), u.HomeAccountID()))
				if knows == "the account, signed out" {
					harness.Eventually(t, "the sign-out is heard", func() bool { _, err := way.silent(b, u); return err != nil })
				}
				fresh := way.signIn(b, u)
				w.Entra.ResetRequests()
				for at, i := range map[string]ungated{"where it was": b, "elsewhere": c} {
					if got, err := way.silent(i, u); err != nil || got != fresh || got == old {
						t.Errorf("%s the sign-in is not kept: %v", at, err)
					}
				}
				w.Count(t, 0, "the sign-in is kept")
			})
		}
	}
}
