package gate_test

import (
	"context"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A token that is due is served at once, without a wait and without an error, while one instance refreshes it; then
// the new one is served.
func TestDueAppTokenIsServedWhileOneInstanceRefreshes(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
	apps := []confidential.Client{w.Instance().App(), w.Instance().App()}
	old := harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = 0 })
	d := w.Door() // before the other instance has the token: on a busy machine it is due by then
	harness.Must(t)(apps[1].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	harness.WaitUntil(time.Now().Add(1500 * time.Millisecond))

	// While the door is shut nobody can have waited for the refresh and come back.
	outs := harness.StartCalls(64, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	})
	if token := harness.OneToken(t, harness.CollectCalls(t, 64, outs)); token != old {
		t.Error("another token than the old one was served before there was one")
	}
	d.Wait(t)
	w.Count(t, 2, "while it is being refreshed")
	d.Open()
	harness.Eventually(t, "the new token on a new instance", func() bool {
		return harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != old
	})
	// The others were told to ask again in 5 to 30 s.
	deadline := time.Now().Add(40 * time.Second)
	for _, app := range apps {
		for harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == old {
			if time.Now().After(deadline) {
				t.Fatal("the new token was not served within 40 s")
			}
			harness.WaitUntil(time.Now().Add(100 * time.Millisecond))
		}
	}
	w.Count(t, 2, "in the end")
}

// The same for a user's token.
func TestDueUserTokenIsServedWhileOneInstanceRefreshes(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn, b.RotateRefreshTokens = time.Second, true })
	quick := func(o *msalredis.Options) { o.LocalTTL = 500 * time.Millisecond }
	a, b := w.Instance(quick), w.Instance(quick)
	apps := []confidential.Client{a.App(), b.App()}
	old := a.SignIn(apps[0], u).AccessToken
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = 0 })
	d := w.Door() // before the other instance has the token: on a busy machine it is due by then
	harness.Must(t)(harness.Silent(ctx, apps[1], u.HomeAccountID()))
	harness.WaitUntil(time.Now().Add(1500 * time.Millisecond))

	outs := harness.StartCalls(64, func(i int) (confidential.AuthResult, error) {
		return harness.Silent(ctx, apps[i%2], u.HomeAccountID())
	})
	if token := harness.OneToken(t, harness.CollectCalls(t, 64, outs)); token != old {
		t.Error("another token than the old one was served before there was one")
	}
	d.Wait(t)
	w.Count(t, 2, "while it is being refreshed")
	d.Open()
	for _, app := range apps {
		harness.Eventually(t, "the new token", func() bool {
			return harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())) != old
		})
	}
	w.Count(t, 2, "in the end")
	w.NoRefusals(t)
}

// Where the server sends no refresh_in the gate makes a token due at RefreshAt of its usable life, so that nobody
// waits for a refresh of a token that is in use; answers to sign-ins included.
func TestTokensWithoutRefreshInAreRefreshedAhead(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"app", "user"} {
		t.Run(kind, func(t *testing.T) {
			w := harness.NewWorld(t)
			ctx := context.Background()
			u := w.AddUsers(1)[0]
			w.Lasting(20 * time.Second)
			i := w.Instance(func(o *msalredis.Options) { o.RefreshAt = 0.1 })
			app := i.App()
			acquire := func() (confidential.AuthResult, error) { return harness.Silent(ctx, app, u.HomeAccountID()) }
			if kind == "user" {
				i.SignIn(app, u)
			} else {
				acquire = func() (confidential.AuthResult, error) {
					return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
				}
			}
			old := harness.Must(t)(acquire())
			w.Count(t, 1, "before it is due")
			harness.WaitUntil(time.Now().Add(2500 * time.Millisecond))
			d := w.Door()
			if harness.Must(t)(acquire()) != old {
				t.Error("not the old token")
			}
			d.Wait(t)
			d.Open()
			w.Count(t, 2, "after it was due")
		})
	}
}
