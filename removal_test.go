package msalredis_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// Entra ID compares ids without regard to the case of their letters, and so does a removal: what it names is removed here and
// elsewhere, whichever spelling the clients use.
func TestRemovalByIDsInLettersOfAnyCase(t *testing.T) {
	ctx := context.Background()
	for _, spelling := range []struct {
		name string
		of   func(string) string
	}{{"capitals", strings.ToUpper}, {"small letters", strings.ToLower}, {"both", func(s string) string {
		return strings.ToUpper(s[:len(s)/2]) + strings.ToLower(s[len(s)/2:])
	}}} {
		for _, clients := range []struct {
			name string
			of   func(string) string
		}{{"capitals", strings.ToUpper}, {"small letters", strings.ToLower}} {
			t.Run(spelling.name+" of clients in "+clients.name, func(t *testing.T) {
				w := newWorld(t)
				u := w.addUsers(1)[0]
				u.ObjectID = clients.of("abcdef00-0000-4000-8000-00000000000f")
				u.Username = "letters@contoso.com"
				w.entra.AddUser(u)
				canary.user(u)
				id := clients.of(clientID)
				w.entra.AddApp(entratest.App{ClientID: id, Secret: clientSecret})
				here, there := w.instance(), w.instance()
				client := func(i *instance) confidential.Client {
					cred, err := confidential.NewCredFromSecret(clientSecret)
					succeeds(t, err)
					app, err := confidential.New(w.entra.Authority(tenant), id, cred, confidential.WithCache(i.tokens), confidential.WithHTTPClient(i.http))
					succeeds(t, err)
					return app
				}
				app, elsewhere := client(here), client(there)
				assertion, err := w.entra.UserToken(id, u.Username, "")
				succeeds(t, err)
				app1 := must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
				link, err := app.AuthCodeURL(ctx, id, redirectURI, []string{userScope})
				succeeds(t, err)
				code, err := w.entra.AuthorizeCode(link, u.Username)
				succeeds(t, err)
				old, err := app.AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope})
				succeeds(t, err)
				obo := must(t)(app.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope}))
				account := old.Account.HomeAccountID
				for _, x := range []confidential.Client{app, elsewhere} {
					if must(t)(silent(ctx, x, account)) != old.AccessToken || must(t)(x.AcquireTokenByCredential(ctx, []string{graph})) != app1 ||
						must(t)(x.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope})) != obo {
						t.Fatal("the tokens are not shared")
					}
				}
				w.listening(t, 2)
				succeeds(t, there.tokens.RemoveAccount(ctx, spelling.of(account)))
				succeeds(t, there.tokens.ForgetAppTokens(ctx, spelling.of(id), spelling.of(tenant), spelling.of(graph)))
				for name, x := range map[string]confidential.Client{"there": elsewhere, "here": app} {
					eventually(t, name+" the user is signed out", func() bool { _, err := silent(ctx, x, account); return err != nil })
					eventually(t, name+" the user's on-behalf-of token is gone", func() bool {
						return must(t)(x.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope})) != obo
					})
					eventually(t, name+" the app's token is gone", func() bool {
						return must(t)(x.AcquireTokenByCredential(ctx, []string{graph})) != app1
					})
				}
			})
		}
	}
}

// A removal of what cannot be a name would find nothing and succeed.
func TestRemovalOfWhatIsNoNameIsRefused(t *testing.T) {
	ctx := context.Background()
	i := newWorld(t).instance()
	for _, bad := range []string{"", " ", "uid.utid\n", " uid.utid", "uid .utid", "uid.utid\x00", "uid.\u200butid", "\ufeffuid.utid"} {
		for name, err := range map[string]error{
			"RemoveAccount":             i.tokens.RemoveAccount(ctx, bad),
			"ForgetAppTokens, client":   i.tokens.ForgetAppTokens(ctx, bad, tenant),
			"ForgetAppTokens, tenant":   i.tokens.ForgetAppTokens(ctx, clientID, bad),
			"ForgetAppTokens, a scope":  i.tokens.ForgetAppTokens(ctx, clientID, tenant, graph, bad),
			"ForgetAppTokens, one only": i.tokens.ForgetAppTokens(ctx, clientID, tenant, bad),
		} {
			if err == nil {
				t.Errorf("%s of %q succeeds", name, bad)
			}
		}
	}
}

// unnamed takes from the token endpoint's answers what names the user: client_info always, and the id_token.
type unnamed struct {
	base    http.RoundTripper
	idToken bool // the id_token stays
}

func (u unnamed) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := u.base.RoundTrip(req)
	if err != nil || req.Method != http.MethodPost {
		return resp, err
	}
	defer resp.Body.Close()
	var members map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&members); err != nil {
		return nil, err
	}
	delete(members, "client_info")
	if !u.idToken {
		delete(members, "id_token")
	}
	body, err := json.Marshal(members)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, err
}

// An on-behalf-of answer without client_info is of the user whom its id_token or its assertion names, and goes with his sign-out
// everywhere: of the fleet's answers, and of MSAL's memory.
func TestSignOutEndsOnBehalfOfAnswersWithoutClientInfo(t *testing.T) {
	ctx := context.Background()
	for name, idToken := range map[string]bool{"named by the id_token": true, "named by the assertion": false} {
		for _, kept := range []bool{true, false} { // in MSAL's memory, or by the fleet alone
			t.Run(fmt.Sprintf("%s, kept by MSAL: %v", name, kept), func(t *testing.T) {
				w := newWorld(t)
				users := w.addUsers(2)
				assertions := []string{w.assertion(t, users[0]), w.assertion(t, users[1])}
				here, there := w.instance(), w.instance()
				client := func(i *instance) confidential.Client {
					base := w.entra.Transport()
					t.Cleanup(base.CloseIdleConnections)
					return newApp(t, w.entra.Authority(tenant), i.tokens, &http.Client{Transport: i.tokens.Transport(unnamed{base, idToken})})
				}
				apps := []confidential.Client{client(here), client(there)}
				get := func(n, user int) string {
					app := apps[n]
					if !kept {
						app = client([]*instance{here, there}[n])
					}
					return must(t)(app.AcquireTokenOnBehalfOf(ctx, assertions[user], []string{mailScope}))
				}
				var old []string
				for user := range users {
					old = append(old, get(0, user))
				}
				w.listening(t, 1)
				for user := range users {
					if get(1, user) != old[user] {
						t.Fatal("the token is not shared")
					}
				}
				w.listening(t, 2)
				succeeds(t, there.tokens.RemoveAccount(ctx, users[0].HomeAccountID()))
				if get(1, 0) == old[0] {
					t.Error("where the user signed out, a token of before serves")
				}
				eventually(t, "no token of before the sign-out serves elsewhere", func() bool { return get(0, 0) != old[0] })
				w.entra.ResetRequests()
				for n := range apps {
					if get(n, 1) != old[1] {
						t.Error("another user's token is another")
					}
				}
				w.count(t, 0, "nobody else has signed out")
			})
		}
	}
}

// declining are the sign-ins that leave tokens in MSAL's memory of which no Export tells: their scopes were declined.
var declining = map[string]func(w *world, i *instance, u entratest.User) (silent func(account string) (string, error)){
	"authorization code": func(w *world, i *instance, u entratest.User) func(string) (string, error) {
		app, ctx := i.app(), context.Background()
		link, err := app.AuthCodeURL(ctx, clientID, redirectURI, []string{userScope, mailScope})
		succeeds(w.t, err)
		code, err := w.entra.AuthorizeCode(link, u.Username)
		succeeds(w.t, err)
		if _, err := app.AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope, mailScope}); err == nil {
			w.t.Error("nothing was declined")
		}
		return func(account string) (string, error) { r, err := silent(ctx, app, account); return r.AccessToken, err }
	},
	"user_fic": func(w *world, i *instance, u entratest.User) func(string) (string, error) {
		app, ctx := i.app(), context.Background()
		credential, err := w.entra.FederatedCredential(clientID)
		succeeds(w.t, err)
		if _, err := app.AcquireTokenByUserFederatedIdentityCredential(ctx, []string{userScope, mailScope}, credential, confidential.WithUserFICUsername(u.Username)); err == nil {
			w.t.Error("nothing was declined")
		}
		return func(account string) (string, error) { r, err := silent(ctx, app, account); return r.AccessToken, err }
	},
	"device code": func(w *world, i *instance, u entratest.User) func(string) (string, error) {
		app, ctx := i.public(), context.Background()
		device, err := app.AcquireTokenByDeviceCode(ctx, []string{userScope, mailScope})
		succeeds(w.t, err)
		succeeds(w.t, w.entra.ApproveDevice(device.Result.UserCode, u.Username))
		if _, err := device.AuthenticationResult(ctx); err == nil {
			w.t.Error("nothing was declined")
		}
		return func(account string) (string, error) {
			r, err := app.AcquireTokenSilent(ctx, []string{userScope}, public.WithSilentAccount(public.Account{
				HomeAccountID: account, Environment: w.entra.Host(), Realm: tenant, PreferredUsername: u.Username}))
			return r.AccessToken, err
		}
	},
}

// A sign-in whose scopes were declined is in MSAL's memory, and no Export has told of it. The user's sign-out, here or elsewhere,
// ends it all the same: no token comes of it, nor does another's Export bring it back.
func TestSignOutEndsSignInsThatWereNotExported(t *testing.T) {
	ctx := context.Background()
	for name, signIn := range declining {
		for _, elsewhere := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, signed out elsewhere: %v", name, elsewhere), func(t *testing.T) {
				w := newWorld(t)
				users := w.addUsers(2)
				here, there := w.instance(), w.instance()
				w.entra.SetBehavior(func(b *entratest.Behavior) { b.DeclinedScopes = []string{mailScope} })
				get := signIn(w, here, users[0])
				account := users[0].HomeAccountID()
				if _, err := get(account); err != nil {
					t.Fatalf("MSAL has no token of the sign-in, and this test shows nothing: %v", err)
				}
				out := here
				if elsewhere {
					w.listening(t, 1)
					out = there
				}
				succeeds(t, out.tokens.RemoveAccount(ctx, account))
				gone := func() bool { _, err := get(account); return err != nil }
				if elsewhere {
					eventually(t, "the sign-in has ended", gone)
				} else if !gone() {
					t.Error("the user who signed out has a token")
				}
				w.entra.ResetRequests()
				w.entra.SetBehavior(func(b *entratest.Behavior) { b.DeclinedScopes = nil })
				other := here.app()
				here.signIn(other, users[1])
				if _, err := silent(ctx, there.app(), account); err == nil {
					t.Error("another instance has a token of the user who signed out")
				}
				if _, err := get(account); err == nil {
					t.Error("the user who signed out has a token again")
				}
				w.count(t, 1, "the other user's sign-in alone")
			})
		}
	}
}
