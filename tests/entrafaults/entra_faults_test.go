package entrafaults_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// While Entra ID is down a token is served to the end of its life, also in its last five minutes, which MSAL alone
// refuses; on every instance, to apps and to users; and no longer.
func TestEntraDownOldTokensServeToTheirEnd(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]entratest.Fault{
		"503":       {Status: http.StatusServiceUnavailable},
		"throttled": {Status: http.StatusTooManyRequests, RetryAfter: "30"},
		"dropped":   {Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			ctx := context.Background()
			u := w.AddUsers(1)[0]
			const life = 8 * time.Second // all of it within the last five minutes
			w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = life })
			a, b := w.Instance(), w.Instance()
			apps := []confidential.Client{a.App(), b.App()}
			acquire := map[string]func(confidential.Client) (confidential.AuthResult, error){
				"app": func(app confidential.Client) (confidential.AuthResult, error) {
					return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
				},
				"user": func(app confidential.Client) (confidential.AuthResult, error) {
					return harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)
				},
			}
			a.SignIn(apps[0], u)
			old := map[string]string{}
			for kind, f := range acquire {
				old[kind] = harness.Must(t)(f(apps[0]))
			}
			end := time.Now().Add(life)
			w.Entra.AddFault(fault)
			w.Entra.ResetRequests()
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
				harness.WaitUntil(time.Now().Add(10 * time.Millisecond))
			}
			// The pauses between attempts are the fleet's, and grow: 1, 2, 4 s; each attempt is retried once.
			if n := w.Entra.Count(); n > 2*2*4 {
				t.Errorf("%d token requests in %v of two tokens on two instances", n, life)
			}
			harness.WaitUntil(end.Add(time.Second))
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
	w := harness.NewWorld(t)
	ctx := context.Background()
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Minute })
	app := w.Instance().App()
	old := harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	d := w.Door()
	for range 3 {
		if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != old {
			t.Error("another token")
		}
	}
	d.Wait(t)
	w.Count(t, 2, "one request, still under way")
	d.Open()
	harness.Eventually(t, "the new token", func() bool {
		return harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != old
	})
}

// On-behalf-of tokens serve until five minutes before their end, and not longer: MSAL refuses them.
func TestEntraDownOnBehalfOfEndsFiveMinutesEarly(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	assertion := w.Assertion(t, w.AddUsers(1)[0])
	w.Lasting(2 * time.Second)
	app, other := w.Instance().App(), w.Instance().App()
	harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope}))
	w.Entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})
	harness.Must(t)(other.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope}))
	harness.WaitUntil(time.Now().Add(3 * time.Second))
	for i, app := range []confidential.Client{app, other} {
		if _, err := app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope}); err == nil {
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
	w := harness.NewWorld(t)
	ctx := context.Background()
	users := w.AddUsers(2)
	a := w.Instance()
	app := a.App()
	for _, u := range users {
		a.SignIn(app, u)
	}
	w.Entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60",
		Match: entratest.ByUser(users[0].HomeAccountID())})
	w.Entra.ResetRequests()
	for _, app := range []confidential.Client{app, w.Instance().App(), w.Instance().App()} {
		_, err := harness.Silent(ctx, app, users[0].HomeAccountID(), harness.MailScope)
		if status, s := retryAfter(t, err); status != http.StatusTooManyRequests || s < 1 || s > 60 {
			t.Errorf("%d with Retry-After %d, want 429 with what is left of 60", status, s)
		}
	}
	w.Count(t, 1, "a throttled user on three instances")
	harness.Must(t)(harness.Silent(ctx, app, users[1].HomeAccountID(), harness.MailScope))
	w.Count(t, 2, "another user")
	harness.Must(t)(harness.Silent(ctx, app, users[0].HomeAccountID()))
	w.Count(t, 2, "a token of the throttled user that is there")
}

// Failures without a pause asked for: the fleet's pause grows, and an answer ends it.
func TestPauseAfterFailuresGrowsAndEnds(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	apps := []confidential.Client{w.Instance().App(), w.Instance().App(), w.Instance().App()}
	down := w.Entra.AddFault(entratest.Fault{Status: http.StatusBadGateway})
	for n, app := range apps {
		w.Entra.ResetRequests()
		var pause int
		harness.Eventually(t, "the pause passes", func() bool {
			_, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			status, s := retryAfter(t, err)
			if status != http.StatusBadGateway {
				t.Fatalf("status %d", status)
			}
			pause = s
			return w.Entra.Count() > 0
		})
		w.Count(t, 2, "a failure and its retry")
		if least := 1 << n; pause < least || pause > 2*least {
			t.Errorf("pause %d is %d s, want %d s and up to a quarter more", n+1, pause, least)
		}
	}
	down()
	harness.Eventually(t, "Entra ID is back", func() bool {
		_, err := apps[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		return err == nil
	})
	// A failure after that is a first one again.
	w.Entra.AddFault(entratest.Fault{Status: http.StatusBadGateway})
	_, err := apps[1].AcquireTokenByCredential(ctx, []string{harness.GraphScope},
		confidential.WithClaims(`{"access_token":{"nbf":{"essential":true}}}`))
	if _, s := retryAfter(t, err); s > 2 {
		t.Errorf("a first failure pauses for %d s", s)
	}
}

// A refusal is everybody's for a few seconds, by one request, and then is asked for anew; a sign-in ends it at once.
func TestRefusalIsSharedForAFewSeconds(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	a := w.Instance()
	apps := []confidential.Client{a.App(), w.Instance().App(), w.Instance().App()}
	a.SignIn(apps[0], u)
	w.Entra.RevokeUser(u.HomeAccountID())
	w.Entra.ResetRequests()
	for _, app := range apps {
		if _, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope); err == nil {
			t.Error("a revoked user got a token")
		}
	}
	w.Count(t, 1, "a refused user on three instances")
	harness.Eventually(t, "the refusal is asked for anew", func() bool {
		_, err := harness.Silent(ctx, apps[1], u.HomeAccountID(), harness.MailScope)
		return err == nil || w.Entra.Count() == 2
	})
	a.SignIn(apps[0], u)
	harness.Must(t)(harness.Silent(ctx, apps[0], u.HomeAccountID(), harness.MailScope))
}

// A due token whose refresh fails is served without an error, and the fleet does not ask again before the pause has
// passed.
func TestFailedRefreshAheadIsNobodysError(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
	apps := []confidential.Client{w.Instance().App(), w.Instance().App()}
	old := harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	harness.WaitUntil(time.Now().Add(1500 * time.Millisecond))
	w.Entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "60"})
	w.Entra.ResetRequests()
	for range 5 {
		// Clients that are new learn at once that the token is due: each would ask.
		apps = append(apps, w.Instance().App())
		for _, app := range apps {
			if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != old {
				t.Error("another token")
			}
		}
		harness.Eventually(t, "a refresh was tried", func() bool { return w.Entra.Count() > 0 })
	}
	w.Count(t, 1, "refreshes while the server wants a pause")
}
