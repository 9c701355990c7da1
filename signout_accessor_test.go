package msalredis_test

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
)

// ungated are an instance's clients with the accessor alone.
type ungated struct {
	*instance
	app    confidential.Client
	public public.Client
}

func (i *instance) ungated() ungated {
	i.w.t.Helper()
	base := i.w.entra.Transport()
	i.w.t.Cleanup(base.CloseIdleConnections)
	client := &http.Client{Transport: base}
	c, err := public.New(publicID, public.WithAuthority(i.w.entra.Authority(tenant)), public.WithCache(i.tokens), public.WithHTTPClient(client))
	succeeds(i.w.t, err)
	return ungated{i, newApp(i.w.t, i.w.entra.Authority(tenant), i.tokens, client), c}
}

func (u ungated) silentPublic(user entratest.User) (string, error) {
	r, err := u.public.AcquireTokenSilent(context.Background(), []string{userScope}, public.WithSilentAccount(public.Account{
		HomeAccountID: user.HomeAccountID(), Environment: u.w.entra.Host(), Realm: tenant, PreferredUsername: user.Username}))
	return r.AccessToken, err
}

func (u ungated) silentApp(user entratest.User) (string, error) {
	r, err := silent(context.Background(), u.app, user.HomeAccountID())
	return r.AccessToken, err
}

// ungatedSignIns are the ways to sign in, and how the token is asked for again.
var ungatedSignIns = map[string]struct {
	signIn func(ungated, entratest.User) string
	silent func(ungated, entratest.User) (string, error)
}{
	"authorization code": {func(i ungated, u entratest.User) string { return i.signIn(i.app, u).AccessToken }, ungated.silentApp},
	"user_fic": {func(i ungated, u entratest.User) string {
		credential, err := i.w.entra.FederatedCredential(clientID)
		succeeds(i.w.t, err)
		r, err := i.app.AcquireTokenByUserFederatedIdentityCredential(context.Background(), []string{userScope}, credential,
			confidential.WithUserFICUsername(u.Username))
		succeeds(i.w.t, err)
		return r.AccessToken
	}, ungated.silentApp},
	"authorization code of a public client": {func(i ungated, u entratest.User) string {
		ctx := context.Background()
		link, err := i.public.AuthCodeURL(ctx, publicID, redirectURI, []string{userScope})
		succeeds(i.w.t, err)
		code, err := i.w.entra.AuthorizeCode(link, u.Username)
		succeeds(i.w.t, err)
		r, err := i.public.AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope})
		succeeds(i.w.t, err)
		return r.AccessToken
	}, ungated.silentPublic},
	"device code": {func(i ungated, u entratest.User) string {
		ctx := context.Background()
		device, err := i.public.AcquireTokenByDeviceCode(ctx, []string{userScope})
		succeeds(i.w.t, err)
		succeeds(i.w.t, i.w.entra.ApproveDevice(device.Result.UserCode, u.Username))
		r, err := device.AuthenticationResult(ctx)
		succeeds(i.w.t, err)
		return r.AccessToken
	}, ungated.silentPublic},
}

// With the accessor alone too a sign-in after a sign-out is kept, whatever the instance where it comes knows of the account.
func TestSignInWithTheAccessorAloneIsKeptAfterASignOut(t *testing.T) {
	for name, way := range ungatedSignIns {
		for _, knows := range []string{"nothing", "another account", "the account, signed out"} {
			t.Run(fmt.Sprintf("%s, where the instance knows %s", name, knows), func(t *testing.T) {
				w := newWorld(t)
				users := w.addUsers(2)
				u := users[0]
				never := func(o *msalredis.Options) { o.LocalTTL = time.Hour } // it learns from messages alone
				a, b, c := w.instance().ungated(), w.instance(never).ungated(), w.instance().ungated()
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
				w.listening(t, listen)
				succeeds(t, a.tokens.RemoveAccount(context.Background(), u.HomeAccountID()))
				if knows == "the account, signed out" {
					eventually(t, "the sign-out is heard", func() bool { _, err := way.silent(b, u); return err != nil })
				}
				fresh := way.signIn(b, u)
				w.entra.ResetRequests()
				for at, i := range map[string]ungated{"where it was": b, "elsewhere": c} {
					if got, err := way.silent(i, u); err != nil || got != fresh || got == old {
						t.Errorf("%s the sign-in is not kept: %v", at, err)
					}
				}
				w.count(t, 0, "the sign-in is kept")
			})
		}
	}
}
