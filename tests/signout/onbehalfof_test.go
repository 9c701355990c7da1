package signout_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A refresh on behalf of a user is of the session of the refresh token that is sent. One that fails while the user
// signs out is not tried again with that token: MSAL goes on with the assertion.
func TestOnBehalfOfRefreshTokenIsNotSentAfterTheSignOut(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	assertion := w.Assertion(t, u)
	const usable = 2 * time.Second
	w.Lasting(usable)
	here := w.Instance()
	app := here.App()
	acquire := func() (confidential.AuthResult, error) {
		return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope})
	}
	harness.Must(t)(acquire())
	w.Listening(t, 1)
	harness.Must(t)(acquire()) // MSAL's memory was emptied when its instance began to listen
	w.Settled()
	w.Expire(usable)
	refreshes := entratest.ByGrant(harness.RefreshGrant)
	d := w.Door(refreshes)
	calls := harness.StartCalls(1, func(int) (confidential.AuthResult, error) { return acquire() })
	d.Wait(t)
	harness.Succeeds(t, here.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
	w.Entra.AddFault(entratest.Fault{Match: refreshes, Status: http.StatusServiceUnavailable, Times: 1})
	d.Open()
	harness.OneToken(t, harness.CollectCalls(t, 1, calls))
	w.Count(t, 1, "the refresh token of before the sign-out", refreshes)
	w.Count(t, 1, "the assertion", entratest.ByGrant(harness.OboGrant))
}

// What an instance that has not heard of a sign-out yet refreshes on behalf of the user serves nobody once it has.
func TestOnBehalfOfRefreshBeforeTheSignOutIsHeardIsNotKept(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	assertion := w.Assertion(t, u)
	const usable = 2 * time.Second
	w.Lasting(usable)
	rdb, tells := w.Client(), newHeld(func(cmd redis.Cmder) bool { return cmd.Name() == "publish" })
	here := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	there := w.Instance()
	app, other := here.App(), there.App()
	acquire := func(app confidential.Client) (confidential.AuthResult, error) {
		return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope})
	}
	harness.Must(t)(acquire(app))
	harness.Must(t)(acquire(other))
	w.Listening(t, 2)
	w.Settled()
	harness.Must(t)(acquire(other)) // MSAL's memory was emptied when its instance began to listen
	w.Expire(usable)
	rdb.AddHook(tells)
	removed := make(chan error, 1)
	go func() { removed <- here.Tokens.RemoveAccount(ctx, u.HomeAccountID()) }()
	harness.Within(t, "the sign-out is told", tells.here)
	refreshed := harness.Must(t)(acquire(other))
	w.Settled()
	close(tells.free)
	harness.Succeeds(t, <-removed)
	harness.Eventually(t, "the sign-out is heard", func() bool { return harness.Must(t)(acquire(other)) != refreshed })
	for name, app := range map[string]confidential.Client{"here": app, "there": other, "a new client": here.App()} {
		if harness.Must(t)(acquire(app)) == refreshed {
			t.Errorf("%s: who came after the sign-out has a token that comes of before", name)
		}
	}
}
