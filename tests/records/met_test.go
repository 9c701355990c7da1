package records_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// switched is an application's own accessor that uses a Cache from some moment on: Redis was away at its start, or it
// has been switched on. Until then MSAL keeps its tokens by itself.
type switched struct {
	replace, export atomic.Pointer[msalredis.Cache]
}

func (s *switched) on(c *msalredis.Cache) { s.replace.Store(c); s.export.Store(c) }

func (s *switched) Replace(ctx context.Context, u cache.Unmarshaler, h cache.ReplaceHints) error {
	if c := s.replace.Load(); c != nil {
		return c.Replace(ctx, u, h)
	}
	return nil
}

func (s *switched) Export(ctx context.Context, m cache.Marshaler, h cache.ExportHints) error {
	if c := s.export.Load(); c != nil {
		return c.Export(ctx, m, h)
	}
	return nil
}

// met is a client of each kind whose accessor is switched on later.
type met struct {
	*harness.Instance
	switched *switched
	app      confidential.Client
	public   public.Client

	assertion string
}

func newMet(w *harness.World, t *testing.T, gated bool) *met {
	t.Helper()
	m := &met{Instance: w.Instance(), switched: &switched{}}
	client := m.HTTP
	if !gated {
		base := w.Entra.Transport()
		t.Cleanup(base.CloseIdleConnections)
		client = &http.Client{Transport: base}
	}
	m.app = harness.NewApp(t, w.Entra.Authority(harness.Tenant), m.switched, client)
	var err error
	m.public, err = public.New(harness.PublicID, public.WithAuthority(w.Entra.Authority(harness.Tenant)),
		public.WithCache(m.switched), public.WithHTTPClient(client))
	harness.Succeeds(t, err)
	return m
}

func (m *met) signInPublic(t *testing.T, u entratest.User) string {
	t.Helper()
	ctx := t.Context()
	link, err := m.public.AuthCodeURL(ctx, harness.PublicID, harness.RedirectURI, []string{harness.UserScope})
	harness.Succeeds(t, err)
	code, err := m.World.Entra.AuthorizeCode(link, u.Username)
	harness.Succeeds(t, err)
	r, err := m.public.AcquireTokenByAuthCode(ctx, code, harness.RedirectURI, []string{harness.UserScope})
	harness.Succeeds(t, err)
	return r.AccessToken
}

func (m *met) silentPublic(ctx context.Context, u entratest.User, scope string) (string, error) {
	accounts, err := m.public.Accounts(ctx)
	if err != nil {
		return "", err
	}
	for _, a := range accounts {
		if a.HomeAccountID == u.HomeAccountID() {
			r, err := m.public.AcquireTokenSilent(ctx, []string{scope}, public.WithSilentAccount(a))
			return r.AccessToken, err
		}
	}
	return "", fmt.Errorf("one of %d accounts", len(accounts))
}

// What MSAL holds before the accessor first sees its manager stays, as it does with MSAL alone, which is run beside it.
func TestWhatMSALHeldBeforeTheFirstReplaceStays(t *testing.T) {
	ctx := context.Background()
	for name, test := range map[string]struct {
		before func(*testing.T, *met, entratest.User) string
		// again asks for the same token, other for one that takes a request: "" none.
		again func(*testing.T, *met, entratest.User) (string, error)
		other func(*testing.T, *met, entratest.User) (string, error)
		// there is other's token on another instance.
		there func(*testing.T, *harness.Instance, entratest.User) (string, error)
	}{
		"a user's": {
			func(_ *testing.T, m *met, u entratest.User) string { return m.SignIn(m.app, u).AccessToken },
			func(_ *testing.T, m *met, u entratest.User) (string, error) {
				r, err := harness.Silent(ctx, m.app, u.HomeAccountID())
				return r.AccessToken, err
			},
			func(_ *testing.T, m *met, u entratest.User) (string, error) {
				r, err := harness.Silent(ctx, m.app, u.HomeAccountID(), harness.CrmScope)
				return r.AccessToken, err
			},
			func(t *testing.T, i *harness.Instance, u entratest.User) (string, error) {
				app := i.App()
				if a, err := app.Account(ctx, u.HomeAccountID()); err != nil || a.PreferredUsername != u.Username {
					t.Errorf("on another instance the account is %q %v", a.PreferredUsername, err)
				}
				r, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.CrmScope)
				return r.AccessToken, err
			},
		},
		"a user's of a public client": {
			func(t *testing.T, m *met, u entratest.User) string { return m.signInPublic(t, u) },
			func(_ *testing.T, m *met, u entratest.User) (string, error) {
				return m.silentPublic(ctx, u, harness.UserScope)
			},
			func(_ *testing.T, m *met, u entratest.User) (string, error) {
				return m.silentPublic(ctx, u, harness.CrmScope)
			},
			nil,
		},
		"an app's": {
			func(t *testing.T, m *met, _ entratest.User) string {
				r, err := m.app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
				harness.Succeeds(t, err)
				return r.AccessToken
			},
			func(_ *testing.T, m *met, _ entratest.User) (string, error) {
				r, err := m.app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
				return r.AccessToken, err
			},
			func(_ *testing.T, m *met, _ entratest.User) (string, error) {
				r, err := m.app.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})
				return r.AccessToken, err
			},
			func(_ *testing.T, i *harness.Instance, _ entratest.User) (string, error) {
				r, err := i.App().AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})
				return r.AccessToken, err
			},
		},
		"one on behalf of a user": {
			func(t *testing.T, m *met, u entratest.User) string {
				m.assertion = m.World.Assertion(t, u)
				r, err := m.app.AcquireTokenOnBehalfOf(ctx, m.assertion, []string{harness.UserScope})
				harness.Succeeds(t, err)
				return r.AccessToken
			},
			func(_ *testing.T, m *met, _ entratest.User) (string, error) {
				r, err := m.app.AcquireTokenOnBehalfOf(ctx, m.assertion, []string{harness.UserScope})
				return r.AccessToken, err
			},
			nil, nil,
		},
		"one that is exported and was not replaced": {
			func(_ *testing.T, m *met, u entratest.User) string {
				m.switched.export.Store(m.Tokens)
				return m.SignIn(m.app, u).AccessToken
			},
			func(_ *testing.T, m *met, u entratest.User) (string, error) {
				r, err := harness.Silent(ctx, m.app, u.HomeAccountID())
				return r.AccessToken, err
			},
			nil, nil,
		},
	} {
		for _, way := range []struct{ accessor, gated bool }{{false, false}, {true, false}, {true, true}} {
			t.Run(fmt.Sprintf("%s/accessor=%v,gate=%v", name, way.accessor, way.gated), func(t *testing.T) {
				w := harness.NewWorld(t)
				m, u := newMet(w, t, way.gated), w.AddUsers(1)[0]
				had := test.before(t, m, u)
				if way.accessor {
					m.switched.on(m.Tokens)
				}
				w.Entra.ResetRequests()
				for range 2 {
					if got, err := test.again(t, m, u); err != nil || got != had {
						t.Fatalf("afterwards: the same token %v, %v", got == had, err)
					}
				}
				w.Count(t, 0, "what MSAL held")
				if test.other == nil {
					return
				}
				other, err := test.other(t, m, u)
				harness.Succeeds(t, err)
				for range 2 {
					if got, err := test.other(t, m, u); err != nil || got != other {
						t.Fatalf("another token once more: the same %v, %v", got == other, err)
					}
				}
				if got, err := test.again(t, m, u); err != nil || got != had {
					t.Errorf("beside another: the same token %v, %v", got == had, err)
				}
				w.Count(t, 1, "another token")
				if test.there == nil || !way.accessor {
					return
				}
				if got, err := test.there(t, w.Instance(), u); err != nil || got != other {
					t.Errorf("another instance: the same token %v, %v", got == other, err)
				}
				w.Count(t, 1, "another token, elsewhere too")
			})
		}
	}
}

// It goes with a sign-out of its user, or a removal of the app's tokens, as what is shared does.
func TestWhatMSALHeldBeforeTheFirstReplaceIsEnded(t *testing.T) {
	ctx := context.Background()
	user := func(m *met, u entratest.User) (string, error) {
		r, err := harness.Silent(ctx, m.app, u.HomeAccountID())
		return r.AccessToken, err
	}
	app := func(m *met, _ entratest.User) (string, error) {
		r, err := m.app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		return r.AccessToken, err
	}
	removed := func(t *testing.T, i *harness.Instance, u entratest.User) {
		harness.Succeeds(t, i.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
	}
	for name, test := range map[string]struct {
		ask     func(*met, entratest.User) (string, error)
		end     func(*testing.T, *harness.Instance, entratest.User)
		renewed bool
	}{
		"a sign-out": {user, removed, false},
		"a forgotten app": {app, func(t *testing.T, i *harness.Instance, _ entratest.User) {
			harness.Succeeds(t, i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant))
		}, true},
		"a forgotten scope": {app, func(t *testing.T, i *harness.Instance, _ entratest.User) {
			harness.Succeeds(t, i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, harness.GraphScope))
		}, true},
	} {
		for _, when := range []string{"here", "elsewhere", "elsewhere, before"} {
			t.Run(name+"/"+when, func(t *testing.T) {
				w := harness.NewWorld(t)
				w.Rotating()
				m, other, u := newMet(w, t, true), w.Instance(), w.AddUsers(1)[0]
				if _, err := other.App().AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}); err != nil {
					t.Fatal(err) // the app is known in Redis
				}
				m.SignIn(m.app, u)
				_, err := app(m, u)
				harness.Succeeds(t, err)
				if when != "elsewhere, before" {
					m.switched.on(m.Tokens)
				}
				before, err := test.ask(m, u)
				harness.Succeeds(t, err)
				from := other
				if when == "here" {
					from = m.Instance
				}
				test.end(t, from, u)
				m.switched.on(m.Tokens)
				harness.Eventually(t, "the end of what MSAL held", func() bool { // LocalTTL at most, where it is not heard
					after, err := test.ask(m, u)
					if test.renewed {
						return err == nil && after != before
					}
					return err != nil
				})
				if !test.renewed {
					if _, err := harness.Silent(ctx, other.App(), u.HomeAccountID(), harness.CrmScope); err == nil {
						t.Error("another instance has the session")
					}
				}
				w.NoRefusals(t)
			})
		}
	}
}

// What the fleet has takes its place: another instance has redeemed the refresh token that MSAL held when its client
// was given to another Cache.
func TestWhatTheFleetHasTakesThePlaceOfWhatMSALHeld(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	m, other, u := newMet(w, t, false), w.Instance(), w.AddUsers(1)[0]
	m.switched.on(m.Tokens)
	m.SignIn(m.app, u)
	harness.Must(t)(harness.Silent(t.Context(), other.App(), u.HomeAccountID(), harness.VaultScope))
	m.switched.on(w.Instance().Tokens)
	harness.Must(t)(harness.Silent(t.Context(), m.app, u.HomeAccountID(), harness.CrmScope))
	w.NoRefusals(t)
}

// MSAL's manager of on-behalf-of tokens is looked at while others write to it, as far as MSAL lets them.
func TestManagersAreMetUnderLoad(t *testing.T) {
	w := harness.NewWorld(t)
	m := newMet(w, t, true)
	users := w.AddUsers(8)
	const rounds = 4
	var done atomic.Int64
	for _, err := range harness.Parallel(2*len(users), func(i int) error {
		u := users[i/2]
		for range rounds {
			if done.Add(1) == int64(len(users)) {
				m.switched.on(m.Tokens)
			}
			assertion, err := w.Entra.UserToken(harness.ClientID, u.Username, "")
			if err != nil {
				return err
			}
			if _, err := m.app.AcquireTokenOnBehalfOf(t.Context(), assertion, []string{harness.UserScope}); err != nil {
				return err
			}
		}
		return nil
	}) {
		t.Error(err)
	}
}
