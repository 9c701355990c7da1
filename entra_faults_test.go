package msalredis_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// While Entra ID is down a token is served to the end of its life, also in its last five minutes, which MSAL alone
// refuses; on every instance, to apps and to users; and no longer.
func TestEntraDownOldTokensServeToTheirEnd(t *testing.T) {
	for name, fault := range map[string]entratest.Fault{
		"503":       {Status: http.StatusServiceUnavailable},
		"throttled": {Status: http.StatusTooManyRequests, RetryAfter: "30"},
		"dropped":   {Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx := context.Background()
			u := w.addUsers(1)[0]
			const life = 8 * time.Second // all of it within the last five minutes
			w.entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = life })
			a, b := w.instance(), w.instance()
			apps := []confidential.Client{a.app(), b.app()}
			acquire := map[string]func(confidential.Client) (confidential.AuthResult, error){
				"app": func(app confidential.Client) (confidential.AuthResult, error) {
					return app.AcquireTokenByCredential(ctx, []string{graph})
				},
				"user": func(app confidential.Client) (confidential.AuthResult, error) {
					return silent(ctx, app, u.HomeAccountID(), mailScope)
				},
			}
			a.signIn(apps[0], u)
			old := map[string]string{}
			for kind, f := range acquire {
				old[kind] = must(t)(f(apps[0]))
			}
			end := time.Now().Add(life)
			w.entra.AddFault(fault)
			w.entra.ResetRequests()
			for time.Now().Before(end.Add(-3 * time.Second)) {
				for kind, f := range acquire {
					for i, app := range apps {
						r, err := f(app)
						if err != nil || r.AccessToken != old[kind] {
							t.Fatalf("%s on instance %d: %v, want the old token", kind, i, err)
						}
						if r.ExpiresOn.After(end.Add(2 * time.Second)) {
							t.Errorf("%s: its end is told as %v, want at most %v", kind, r.ExpiresOn, end)
						}
					}
				}
			}
			// The pauses between attempts are the fleet's, and grow: 1, 2, 4 s; each attempt is retried once.
			if n := w.entra.Count(); n > 2*2*4 {
				t.Errorf("%d token requests in %v of two tokens on two instances", n, life)
			}
			waitUntil(end.Add(time.Second))
			for kind, f := range acquire {
				if _, err := f(apps[1]); err == nil {
					t.Errorf("%s: a token past its life was served", kind)
				}
			}
		})
	}
}

// A slow Entra ID does not keep callers waiting who could have the old token.
func TestEntraHangsOldTokenServes(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Minute })
	app := w.instance().app()
	old := must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	d := w.door()
	for range 3 {
		if must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) != old {
			t.Error("another token")
		}
	}
	d.wait(t)
	w.count(t, 2, "one request, still under way")
	d.open()
	eventually(t, "the new token", func() bool { return must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) != old })
}

// On-behalf-of tokens serve until five minutes before their end, and not longer: MSAL refuses them.
func TestEntraDownOnBehalfOfEndsFiveMinutesEarly(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	assertion := w.assertion(t, w.addUsers(1)[0])
	w.lasting(2 * time.Second)
	app, other := w.instance().app(), w.instance().app()
	must(t)(app.AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope}))
	w.entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})
	must(t)(other.AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope}))
	waitUntil(time.Now().Add(3 * time.Second))
	for i, app := range []confidential.Client{app, other} {
		if _, err := app.AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope}); err == nil {
			t.Errorf("instance %d: no error", i)
		}
	}
}

// retryAfter is what a failed call says.
func retryAfter(t *testing.T, err error) (status, seconds int) {
	t.Helper()
	var call msalerrors.CallErr
	if !errors.As(err, &call) {
		t.Fatalf("a caller got %v, want an answer of Entra ID", err)
	}
	_, _ = fmt.Sscan(call.Resp.Header.Get("Retry-After"), &seconds)
	return call.Resp.StatusCode, seconds
}

// Throttling of one identity silences no other: not another scope, not another tenant, and not another user.
func TestThrottlingIsOfOneIdentity(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	users := w.addUsers(2)
	a := w.instance()
	app := a.app()
	for _, u := range users {
		a.signIn(app, u)
	}
	w.entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60", Match: entratest.ByUser(users[0].HomeAccountID())})
	w.entra.ResetRequests()
	for _, app := range []confidential.Client{app, w.instance().app(), w.instance().app()} {
		_, err := silent(ctx, app, users[0].HomeAccountID(), mailScope)
		if status, s := retryAfter(t, err); status != http.StatusTooManyRequests || s < 1 || s > 60 {
			t.Errorf("%d with Retry-After %d, want 429 with what is left of 60", status, s)
		}
	}
	w.count(t, 1, "a throttled user on three instances")
	must(t)(silent(ctx, app, users[1].HomeAccountID(), mailScope))
	w.count(t, 2, "another user")
	must(t)(silent(ctx, app, users[0].HomeAccountID()))
	w.count(t, 2, "a token of the throttled user that is there")
}

// Failures without a pause asked for: the fleet's pause grows, and an answer ends it.
func TestPauseAfterFailuresGrowsAndEnds(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	apps := []confidential.Client{w.instance().app(), w.instance().app(), w.instance().app()}
	down := w.entra.AddFault(entratest.Fault{Status: http.StatusBadGateway})
	for n, app := range apps {
		w.entra.ResetRequests()
		var pause int
		eventually(t, "the pause passes", func() bool {
			_, err := app.AcquireTokenByCredential(ctx, []string{graph})
			status, s := retryAfter(t, err)
			if status != http.StatusBadGateway {
				t.Fatalf("status %d", status)
			}
			pause = s
			return w.entra.Count() > 0
		})
		w.count(t, 2, "a failure and its retry")
		if least := 1 << n; pause < least || pause > 2*least {
			t.Errorf("pause %d is %d s, want %d s and up to a quarter more", n+1, pause, least)
		}
	}
	down()
	eventually(t, "Entra ID is back", func() bool {
		_, err := apps[0].AcquireTokenByCredential(ctx, []string{graph})
		return err == nil
	})
	// A failure after that is a first one again.
	w.entra.AddFault(entratest.Fault{Status: http.StatusBadGateway})
	_, err := apps[1].AcquireTokenByCredential(ctx, []string{graph}, confidential.WithClaims(`{"access_token":{"nbf":{"essential":true}}}`))
	if _, s := retryAfter(t, err); s > 2 {
		t.Errorf("a first failure pauses for %d s", s)
	}
}

// A refusal is everybody's for a few seconds, by one request, and then is asked for anew; a sign-in ends it at once.
func TestRefusalIsSharedForAFewSeconds(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	u := w.addUsers(1)[0]
	a := w.instance()
	apps := []confidential.Client{a.app(), w.instance().app(), w.instance().app()}
	a.signIn(apps[0], u)
	w.entra.RevokeUser(u.HomeAccountID())
	w.entra.ResetRequests()
	for _, app := range apps {
		if _, err := silent(ctx, app, u.HomeAccountID(), mailScope); err == nil {
			t.Error("a revoked user got a token")
		}
	}
	w.count(t, 1, "a refused user on three instances")
	eventually(t, "the refusal is asked for anew", func() bool {
		_, err := silent(ctx, apps[1], u.HomeAccountID(), mailScope)
		return err == nil || w.entra.Count() == 2
	})
	a.signIn(apps[0], u)
	must(t)(silent(ctx, apps[0], u.HomeAccountID(), mailScope))
}

// A due token whose refresh fails is served without an error, and the fleet does not ask again before the pause has
// passed.
func TestFailedRefreshAheadIsNobodysError(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
	apps := []confidential.Client{w.instance().app(), w.instance().app()}
	old := must(t)(apps[0].AcquireTokenByCredential(ctx, []string{graph}))
	waitUntil(time.Now().Add(1500 * time.Millisecond))
	w.entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60"})
	w.entra.ResetRequests()
	for range 5 {
		// Clients that are new learn at once that the token is due: each would ask.
		apps = append(apps, w.instance().app())
		for _, app := range apps {
			if must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) != old {
				t.Error("another token")
			}
		}
		eventually(t, "a refresh was tried", func() bool { return w.entra.Count() > 0 })
	}
	w.count(t, 1, "refreshes while the server wants a pause")
}
