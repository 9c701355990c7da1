package msalredis_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// A caller's context that ends: its caller gets its error promptly, wherever it was waiting, and nobody else is
// harmed. Each test holds a call at one stage, ends the context of some callers while others stay, and lets go.

// promptly is how soon a caller whose context has ended must be back: at once, on a machine that is busy. It is well
// below everything that a caller could have waited for instead (OpTimeout 10 s, LockTTL 5 s, MSAL's 30 s).
const promptly = 2 * time.Second

// leaving ends a context and checks that its n callers come back promptly with its error.
func leaving(t *testing.T, end func(), want error, n int, outs <-chan got) {
	t.Helper()
	at := time.Now()
	end()
	for _, g := range collect(t, n, outs) {
		if !errors.Is(g.err, want) {
			t.Errorf("a caller whose context had ended got %v, want %v", g.err, want)
		}
	}
	if took := time.Since(at); took > promptly {
		t.Errorf("callers whose context had ended came back after %v", took)
	}
}

// still checks that nobody has come back.
func still(t *testing.T, outs <-chan got) {
	t.Helper()
	select {
	case g := <-outs:
		t.Errorf("a caller came back while its answer was held: %v", g.err)
	default:
	}
}

func acquireApp(ctx context.Context, app confidential.Client) func(int) (confidential.AuthResult, error) {
	return func(int) (confidential.AuthResult, error) { return app.AcquireTokenByCredential(ctx, []string{graph}) }
}

// The flight's first caller leaves: those who joined it get the token, from the same request.
func TestFirstCallerOfFlightLeaves(t *testing.T) {
	w := newWorld(t)
	app := w.instance().app()
	d := w.door()
	ctx, leave := context.WithCancel(context.Background())
	firsts := start(1, acquireApp(ctx, app))
	d.wait(t) // the first caller's request, before anybody else calls
	others := start(8, acquireApp(context.Background(), app))
	inGate(t, 9)
	leaving(t, leave, context.Canceled, 1, firsts)
	still(t, others)
	d.open()
	oneToken(t, collect(t, 8, others))
	w.count(t, 1, "the flight")
}

// Callers who joined leave, by deadline: the first one gets the token.
func TestJoinersOfFlightLeave(t *testing.T) {
	w := newWorld(t)
	app := w.instance().app()
	d := w.door()
	firsts := start(1, acquireApp(context.Background(), app))
	d.wait(t)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	joiners := start(8, acquireApp(ctx, app))
	leaving(t, func() { <-ctx.Done() }, context.DeadlineExceeded, 8, joiners)
	still(t, firsts)
	d.open()
	oneToken(t, collect(t, 1, firsts))
	w.count(t, 1, "the flight")
}

// Callers who wait for another instance's answer leave, the first of them included: those who stay get it.
func TestCallersWaitingForAnotherInstanceLeave(t *testing.T) {
	w := newWorld(t)
	leader, waiting := w.instance().app(), w.instance().app()
	d := w.door()
	leads := start(1, acquireApp(context.Background(), leader))
	d.wait(t)
	ctx, leave := context.WithCancel(context.Background())
	leavers := start(4, acquireApp(ctx, waiting))
	inGate(t, 5)
	w.leaseWaiters(t, 1)
	stayers := start(4, acquireApp(context.Background(), waiting))
	inGate(t, 9)
	leaving(t, leave, context.Canceled, 4, leavers)
	still(t, stayers)
	d.open()
	oneToken(t, append(collect(t, 1, leads), collect(t, 4, stayers)...))
	w.count(t, 1, "two instances")
}

// Callers who wait for Redis leave: those who stay get the token when it answers, and there is one request. The
// accessor is where they wait, or, where the token is not to be had from it, the gate.
func TestCallersWaitingForRedisLeave(t *testing.T) {
	for _, kind := range []string{"accessor", "gate"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			// Longer than any wait of this test: nobody comes back because Redis counts as away.
			i := w.instance(func(o *msalredis.Options) { o.OpTimeout = 60 * time.Second })
			app := i.app()
			if kind == "gate" {
				app = i.gateApp()
			}
			must(t)(app.AcquireTokenByCredential(context.Background(), []string{dynamics})) // discovery, connections
			w.redis.Freeze()
			thaw := w.thawing(t)
			ctx, leave := context.WithCancel(context.Background())
			get := func(ctx context.Context) func(int) (confidential.AuthResult, error) {
				return func(int) (confidential.AuthResult, error) {
					return app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(otherTenant))
				}
			}
			leavers := start(4, get(ctx))
			stayers := start(4, get(context.Background()))
			if kind == "gate" {
				inGate(t, 8)
			} else {
				inStack(t, "msalredis.(*Cache).Replace(", 8)
			}
			leaving(t, leave, context.Canceled, 4, leavers)
			still(t, stayers)
			thaw()
			oneToken(t, collect(t, 4, stayers))
			w.count(t, 1, "with Redis back", entratest.ByTenant(otherTenant))
		})
	}
}

const otherTenant = "0d2b5a00-1111-4222-8333-000000000009"

// thawing lets a frozen Redis go on, at the latest at the end of the test.
func (w *world) thawing(t *testing.T) func() {
	t.Cleanup(w.redis.Thaw)
	return w.redis.Thaw
}

// Callers who wait for an Entra ID that does not answer leave; who comes later gets a token when it does.
func TestCallersWaitingForEntraLeave(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	i := w.instance()
	app := i.app()
	i.signIn(app, u)
	assertion := w.assertion(t, u)
	for name, acquire := range map[string]func(context.Context) (confidential.AuthResult, error){
		"app": func(ctx context.Context) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{graph})
		},
		"user": func(ctx context.Context) (confidential.AuthResult, error) {
			return silent(ctx, app, u.HomeAccountID(), mailScope)
		},
		"on-behalf-of": func(ctx context.Context) (confidential.AuthResult, error) {
			return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.entra.ResetRequests()
			remove := w.entra.AddFault(entratest.Fault{Hang: true})
			defer remove()
			ctx, leave := context.WithCancel(context.Background())
			outs := start(8, func(int) (confidential.AuthResult, error) { return acquire(ctx) })
			inGate(t, 8)
			eventually(t, "the request", func() bool { return w.entra.Count() > 0 })
			leaving(t, leave, context.Canceled, 8, outs)
			w.count(t, 1, "callers of a hung server")
		})
	}
}

// A context that has ended before the call costs no request and no wait, and leaves nothing behind.
func TestContextThatHasEndedCostsNothing(t *testing.T) {
	w := newWorld(t)
	i := w.instance()
	app := i.app()
	must(t)(app.AcquireTokenByCredential(context.Background(), []string{dynamics}))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	leaving(t, func() {}, context.Canceled, 4, start(4, acquireApp(ctx, app)))
	w.count(t, 0, "a context that had ended", entratest.ByScope(graph))
	if err := i.tokens.RemoveAccount(ctx, "a.b"); !errors.Is(err, context.Canceled) {
		t.Errorf("RemoveAccount: %v", err)
	}
	if err := i.tokens.ForgetAppTokens(ctx, clientID, tenant); !errors.Is(err, context.Canceled) {
		t.Errorf("ForgetAppTokens: %v", err)
	}
	must(t)(acquireApp(context.Background(), app)(0))
}

// A caller that leaves between Entra ID's answer and Redis's takes nobody's token: the write goes on.
func TestCallerLeavesWhileItsTokenIsStored(t *testing.T) {
	w := newWorld(t)
	i := w.instance(func(o *msalredis.Options) { o.OpTimeout = 60 * time.Second })
	app := newApp(t, w.entra.Authority(tenant), i.tokens, w.entra.HTTPClient()) // the accessor alone: Export is the only write
	must(t)(app.AcquireTokenByCredential(context.Background(), []string{dynamics}))
	d := w.door()
	ctx, leave := context.WithCancel(context.Background())
	outs := start(1, acquireApp(ctx, app))
	d.wait(t)
	w.redis.Freeze()
	thaw := w.thawing(t)
	d.open()
	inStack(t, "msalredis.(*Cache).Export(", 1)
	leaving(t, leave, context.Canceled, 1, outs)
	thaw()
	eventually(t, "the token on another instance", func() bool {
		other := newApp(t, w.entra.Authority(tenant), w.instance().tokens, &http.Client{Transport: refusing{w.entra.HTTPClient().Transport}})
		_, err := other.AcquireTokenByCredential(context.Background(), []string{graph})
		return err == nil
	})
}

// refusing lets discovery pass and no token request.
type refusing struct{ base http.RoundTripper }

func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost {
		return nil, errors.New("a token request")
	}
	return r.base.RoundTrip(req)
}
