package signout_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A tenant's name is the same in capitals, which MSAL keeps in its question for the endpoints and drops in its cache.
func TestForgetAppTokensOfATenantInCapitals(t *testing.T) {
	w := harness.NewWorld(t)
	here, there := w.Instance(), w.Instance()
	ctx := context.Background()
	get := func(i *harness.Instance, name string) string {
		t.Helper()
		app := harness.NewApp(t, w.Entra.Authority(name), i.Tokens, i.HTTP)
		return harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	}
	for n, name := range []string{"Contoso.Example", "contoso.example", "CONTOSO.example"} {
		get(here, "Contoso.Example")
		old := get(there, "contoso.Example")
		w.Count(t, n+1, "before "+name)
		w.Listening(t, 2)
		if err := here.Tokens.ForgetAppTokens(ctx, harness.ClientID, name); err != nil {
			t.Fatal(err)
		}
		if get(here, "Contoso.Example") == old {
			t.Errorf("%s: here serves the token that was forgotten", name)
		}
		harness.Eventually(t, "there asks anew", func() bool { return get(there, "contoso.Example") != old })
	}
}

// Clients that name one tenant by its domains and by its id share its tokens, and each of the names forgets them for
// all.
func TestForgetAppTokensByAnyNameOfTheTenant(t *testing.T) {
	t.Parallel()
	names := []string{"contoso.example", "fabrikam.example", harness.Tenant}
	for _, gateAlone := range []bool{false, true} {
		for first := range names {
			t.Run(fmt.Sprintf("%s first, gate alone: %v", names[first], gateAlone), func(t *testing.T) {
				t.Parallel()
				w := harness.NewWorld(t)
				for _, name := range names[:2] {
					w.Entra.AddDomain(name, harness.Tenant)
				}
				ctx := context.Background()
				var here []*harness.Instance
				var apps []func() confidential.Client
				for _, name := range names {
					i := w.Instance()
					base := w.Entra.Transport()
					t.Cleanup(base.CloseIdleConnections)
					client := &http.Client{Transport: i.Tokens.Transport(base)}
					app := harness.NewApp(t, w.Entra.Authority(name), i.Tokens, client)
					here, apps = append(here, i), append(apps, func() confidential.Client {
						if gateAlone { // MSAL's own memory knows of no removal
							return harness.NewApp(t, w.Entra.Authority(name), nil, client)
						}
						return app
					})
				}
				get := func(n int) string {
					t.Helper()
					return harness.Must(t)(apps[n]().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
				}
				all := func() string {
					t.Helper()
					old := get(first)
					for n := range names {
						if get(n) != old {
							t.Fatalf("%s does not share the token", names[n])
						}
					}
					return old
				}
				for n, name := range names {
					for _, scopes := range [][]string{nil, {harness.GraphScope}} {
						old := all()
						w.Listening(t, len(names))
						if err := here[(n+1)%len(here)].Tokens.ForgetAppTokens(ctx, harness.ClientID, name, scopes...); err != nil {
							t.Fatal(err)
						}
						for n := range names {
							harness.Eventually(t, names[n]+" asks anew after "+name+" was forgotten", func() bool { return get(n) != old })
						}
					}
				}
				w.Count(t, 1+2*len(names), "one for all after each removal")
			})
		}
	}
}

// Where the message of a removal is lost, a process that gives new clients what it has, without asking Redis, learns of
// the removal within LocalTTL.
func TestForgottenAppTokenGoesWithinLocalTTLWithoutAMessage(t *testing.T) {
	t.Parallel()
	for _, scopes := range [][]string{nil, {harness.GraphScope}} {
		for _, gateAlone := range []bool{false, true} {
			t.Run(fmt.Sprintf("scopes %v, gate alone: %v", scopes, gateAlone), func(t *testing.T) {
				t.Parallel()
				w := harness.NewWorld(t)
				ctx := context.Background()
				here := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Second })
				relying := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
				get := func(i *harness.Instance) string {
					t.Helper()
					app := i.App()
					if gateAlone {
						app = i.GateApp()
					}
					return harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
				}
				old := get(here)
				w.Settled()
				for _, i := range []*harness.Instance{relying, relying, here} {
					if get(i) != old {
						t.Fatal("the token is not shared")
					}
				}
				w.Settled()
				if err := silenced(w).Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, scopes...); err != nil {
					t.Fatal(err)
				}
				if get(relying) != old {
					t.Fatal("who may rely on what it has for an hour has asked: the test shows nothing")
				}
				harness.Eventually(t, "who may for a second asks anew", func() bool { return get(here) != old })
			})
		}
	}
}

// A Redis that reads and takes no writes still has the token that was forgotten here: it serves nobody here, and goes
// from there once it can.
func TestForgottenTokenIsNotServedHereWhileRedisTakesNoWrites(t *testing.T) {
	t.Parallel()
	for _, scopes := range [][]string{nil, {harness.GraphScope}} {
		for _, gateAlone := range []bool{false, true} {
			t.Run(fmt.Sprintf("scopes %v, gate alone: %v", scopes, gateAlone), func(t *testing.T) {
				t.Parallel()
				w := harness.Breakable(t)
				here := w.Instance(func(o *msalredis.Options) { o.OpTimeout = time.Second })
				ctx := context.Background()
				app := here.App()
				get := func() string {
					t.Helper()
					if gateAlone {
						app = harness.NewApp(t, w.Entra.Authority(harness.Tenant), nil, here.HTTP)
					}
					return harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
				}
				old := get()
				w.Redis.ReadOnly(t)
				if err := here.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, scopes...); err == nil {
					t.Fatal("a removal that Redis did not take succeeded")
				}
				for range 3 {
					if get() == old {
						t.Fatal("the forgotten token is served")
					}
				}
				w.Count(t, 2, "one anew")
				w.Redis.Writable()
				harness.Eventually(t, "another instance asks anew", func() bool {
					return harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != old
				})
			})
		}
	}
}

// What was forgotten by its scopes has left this process's memory, which serves when Redis is lost after that.
func TestForgottenTokenIsNotServedWhenRedisIsLostNext(t *testing.T) {
	w := harness.Breakable(t)
	here := w.Instance(func(o *msalredis.Options) { o.OpTimeout = time.Second })
	ctx := context.Background()
	app := here.App()
	old := harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	kept := harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}))
	if err := here.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, harness.GraphScope); err != nil {
		t.Fatal(err)
	}
	w.Redis.Kill()
	if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == old {
		t.Error("the forgotten token is served")
	}
	if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})) != kept {
		t.Error("another scope's token was forgotten too")
	}
}

// before does something before the first of chosen commands.
type before struct {
	once   sync.Once
	chosen func(redis.Cmder) bool
	do     func()
}

func (b *before) DialHook(next redis.DialHook) redis.DialHook { return next }
func (b *before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (b *before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if b.chosen(cmd) {
			b.once.Do(b.do)
		}
		return next(ctx, cmd)
	}
}

// A removal by scopes looks what there is before it removes that. A token that was asked for before it, and is stored
// by another instance after the look, goes too.
func TestTokenStoredWhileItIsForgottenIsForgotten(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	stored := &before{chosen: harness.IsSignOut}
	rdb := w.Client()
	rdb.AddHook(stored)
	here := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	there := w.Instance()
	app := there.App()
	get := func(app confidential.Client) string {
		t.Helper()
		return harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	}
	harness.Must(t)(here.App().AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}))
	var old string
	stored.do = func() { old = get(app) }
	if err := here.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, harness.GraphScope); err != nil {
		t.Fatal(err)
	}
	if old == "" {
		t.Fatal("no token was stored meanwhile")
	}
	for name, i := range map[string]*harness.Instance{"here": here, "another instance": w.Instance()} {
		if get(i.App()) == old {
			t.Errorf("%s serves the forgotten token", name)
		}
	}
	harness.Eventually(t, "there asks anew", func() bool { return get(app) != old })
}
