package msalredis_test

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
)

// A tenant's name is the same in capitals, which MSAL keeps in its question for the endpoints and drops in its cache.
func TestForgetAppTokensOfATenantInCapitals(t *testing.T) {
	w := newWorld(t)
	here, there := w.instance(), w.instance()
	ctx := context.Background()
	get := func(i *instance, name string) string {
		t.Helper()
		app := newApp(t, w.entra.Authority(name), i.tokens, i.http)
		return must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	}
	for n, name := range []string{"Contoso.Example", "contoso.example", "CONTOSO.example"} {
		get(here, "Contoso.Example")
		old := get(there, "contoso.Example")
		w.count(t, n+1, "before "+name)
		w.listening(t, 2)
		if err := here.tokens.ForgetAppTokens(ctx, clientID, name); err != nil {
			t.Fatal(err)
		}
		if get(here, "Contoso.Example") == old {
			t.Errorf("%s: here serves the token that was forgotten", name)
		}
		eventually(t, "there asks anew", func() bool { return get(there, "contoso.Example") != old })
	}
}

// Clients that name one tenant by its domains and by its id share its tokens, and each of the names forgets them for all.
func TestForgetAppTokensByAnyNameOfTheTenant(t *testing.T) {
	names := []string{"contoso.example", "fabrikam.example", tenant}
	for _, gateAlone := range []bool{false, true} {
		for first := range names {
			t.Run(fmt.Sprintf("%s first, gate alone: %v", names[first], gateAlone), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				for _, name := range names[:2] {
					w.entra.AddDomain(name, tenant)
				}
				ctx := context.Background()
				var here []*instance
				var apps []func() confidential.Client
				for _, name := range names {
					i := w.instance()
					base := w.entra.Transport()
					t.Cleanup(base.CloseIdleConnections)
					client := &http.Client{Transport: i.tokens.Transport(base)}
					app := newApp(t, w.entra.Authority(name), i.tokens, client)
					here, apps = append(here, i), append(apps, func() confidential.Client {
						if gateAlone { // MSAL's own memory knows of no removal
							return newApp(t, w.entra.Authority(name), nil, client)
						}
						return app
					})
				}
				get := func(n int) string {
					t.Helper()
					return must(t)(apps[n]().AcquireTokenByCredential(ctx, []string{graph}))
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
					for _, scopes := range [][]string{nil, {graph}} {
						old := all()
						w.listening(t, len(names))
						if err := here[(n+1)%len(here)].tokens.ForgetAppTokens(ctx, clientID, name, scopes...); err != nil {
							t.Fatal(err)
						}
						for n := range names {
							eventually(t, names[n]+" asks anew after "+name+" was forgotten", func() bool { return get(n) != old })
						}
					}
				}
				w.count(t, 1+2*len(names), "one for all after each removal")
			})
		}
	}
}

// A Redis that reads and takes no writes still has the token that was forgotten here: it serves nobody here, and goes from
// there once it can.
func TestForgottenTokenIsNotServedHereWhileRedisTakesNoWrites(t *testing.T) {
	for _, scopes := range [][]string{nil, {graph}} {
		for _, gateAlone := range []bool{false, true} {
			t.Run(fmt.Sprintf("scopes %v, gate alone: %v", scopes, gateAlone), func(t *testing.T) {
				t.Parallel()
				w := breakable(t)
				here := w.instance(func(o *msalredis.Options) { o.OpTimeout = time.Second })
				ctx := context.Background()
				app := here.app()
				get := func() string {
					t.Helper()
					if gateAlone {
						app = newApp(t, w.entra.Authority(tenant), nil, here.http)
					}
					return must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
				}
				old := get()
				w.redis.ReadOnly(t)
				if err := here.tokens.ForgetAppTokens(ctx, clientID, tenant, scopes...); err == nil {
					t.Fatal("a removal that Redis did not take succeeded")
				}
				for range 3 {
					if get() == old {
						t.Fatal("the forgotten token is served")
					}
				}
				w.count(t, 2, "one anew")
				w.redis.Writable()
				eventually(t, "another instance asks anew", func() bool {
					return must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph})) != old
				})
			})
		}
	}
}

// What was forgotten by its scopes has left this process's memory, which serves when Redis is lost after that.
func TestForgottenTokenIsNotServedWhenRedisIsLostNext(t *testing.T) {
	w := breakable(t)
	here := w.instance(func(o *msalredis.Options) { o.OpTimeout = time.Second })
	ctx := context.Background()
	app := here.app()
	old := must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	kept := must(t)(app.AcquireTokenByCredential(ctx, []string{dynamics}))
	if err := here.tokens.ForgetAppTokens(ctx, clientID, tenant, graph); err != nil {
		t.Fatal(err)
	}
	w.redis.Kill()
	if must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) == old {
		t.Error("the forgotten token is served")
	}
	if must(t)(app.AcquireTokenByCredential(ctx, []string{dynamics})) != kept {
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

// A removal by scopes looks what there is before it removes that. A token that was asked for before it, and is stored by
// another instance after the look, goes too.
func TestTokenStoredWhileItIsForgottenIsForgotten(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	stored := &before{chosen: isSignOut}
	rdb := w.client()
	rdb.AddHook(stored)
	here := w.instanceOn(hooked{rdb}, w.sealer(w.keys), options(w.prefix))
	there := w.instance()
	app := there.app()
	get := func(app confidential.Client) string {
		t.Helper()
		return must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	}
	must(t)(here.app().AcquireTokenByCredential(ctx, []string{dynamics}))
	var old string
	stored.do = func() { old = get(app) }
	if err := here.tokens.ForgetAppTokens(ctx, clientID, tenant, graph); err != nil {
		t.Fatal(err)
	}
	if old == "" {
		t.Fatal("no token was stored meanwhile")
	}
	for name, i := range map[string]*instance{"here": here, "another instance": w.instance()} {
		if get(i.app()) == old {
			t.Errorf("%s serves the forgotten token", name)
		}
	}
	eventually(t, "there asks anew", func() bool { return get(app) != old })
}
