package signout_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A token in the last five minutes of its life serves who waits for a slow or failing Entra ID, but not once it has
// been removed: not where the caller's patience ends after the removal, and not where Entra ID fails after it.
func TestOldTokenServesNobodyAfterItsRemoval(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	type tokens struct {
		scope   string
		acquire func(app confidential.Client, u entratest.User, scope string) (confidential.AuthResult, error)
	}
	user := tokens{harness.MailScope,
		func(app confidential.Client, u entratest.User, scope string) (confidential.AuthResult, error) {
			return harness.Silent(ctx, app, u.HomeAccountID(), scope)
		}}
	apps := tokens{harness.GraphScope,
		func(app confidential.Client, _ entratest.User, scope string) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{scope})
		}}
	type removed struct {
		tokens
		remove func(*harness.Instance, confidential.Client, entratest.User) error
	}
	// Of the same partition, and not near their end: where they are gone the removal is known.
	lasting := map[string]string{harness.MailScope: harness.UserScope, harness.GraphScope: harness.DynamicsScope}
	kinds := map[string]removed{
		"RemoveAccount": {user, func(i *harness.Instance, _ confidential.Client, u entratest.User) error {
			return i.Tokens.RemoveAccount(ctx, u.HomeAccountID())
		}},
		"MSAL's RemoveAccount": {user, func(_ *harness.Instance, app confidential.Client, u entratest.User) error {
			account, err := app.Account(ctx, u.HomeAccountID())
			if err != nil {
				return err
			}
			return app.RemoveAccount(ctx, account)
		}},
		"ForgetAppTokens": {apps, func(i *harness.Instance, _ confidential.Client, _ entratest.User) error {
			return i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant)
		}},
	}
	for name, kind := range kinds {
		for _, where := range []string{"here", "there"} {
			for is, fault := range map[string]*entratest.Fault{
				"slow":      nil,
				"failing":   {Status: http.StatusServiceUnavailable},
				"throttled": {Status: http.StatusTooManyRequests, RetryAfter: "30"},
			} {
				t.Run(name+" "+where+", Entra ID is "+is, func(t *testing.T) {
					t.Parallel()
					w := harness.NewWorld(t)
					u := w.AddUsers(1)[0]
					here, there := w.Instance(), w.Instance()
					app, other := here.App(), there.App()
					here.SignIn(app, u)
					known := harness.Must(t)(kind.acquire(app, u, lasting[kind.scope]))
					harness.Must(t)(other.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})) // it listens from now on
					w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Minute })
					old := harness.Must(t)(kind.acquire(app, u, kind.scope))
					w.Settled()
					w.Listening(t, 2)

					d := w.Door(func(r entratest.Request) bool { return strings.Contains(r.RawScope, kind.scope) })
					calls := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
						return kind.acquire(app, u, kind.scope)
					})
					d.Wait(t)
					if where == "here" {
						harness.Succeeds(t, kind.remove(here, app, u))
					} else {
						harness.Succeeds(t, kind.remove(there, other, u))
						harness.Eventually(t, "it is heard here", func() bool {
							r, err := kind.acquire(app, u, lasting[kind.scope])
							return err != nil || r.AccessToken != known
						})
					}
					if fault != nil {
						w.Entra.AddFault(*fault)
					} else {
						select {
						case <-calls:
							t.Fatal("the caller is back before Entra ID has answered")
						case <-time.After(3 * time.Second): // the caller's patience is two
						}
					}
					d.Open()
					call := harness.CollectCalls(t, 1, calls)[0]
					if call.Token == old {
						t.Error("the caller got the token that was removed")
					}
					if (call.Err != nil) != (fault != nil) {
						t.Errorf("the caller got the error %v, want one: %v", call.Err, fault != nil)
					}
				})
			}
		}
	}
}

// So does one that was chosen already when its removal comes: the pause of the failure in whose place it would serve is
// kept for the fleet before callers have it, and Redis may take its time.
func TestOldTokenServesNobodyWhenItsRemovalComesWhileAPauseIsKept(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	slow := newHeld(func(cmd redis.Cmder) bool { return harness.HasKeys(cmd, ":pause", ":tombstone", ":pause") })
	rdb := w.Client()
	here := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	app := here.App()
	here.SignIn(app, u)
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Minute })
	old := harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope))
	w.Settled()
	rdb.AddHook(slow)
	w.Entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})
	calls := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
		return harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)
	})
	harness.Within(t, "the pause is being kept", slow.here)
	harness.Succeeds(t, here.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
	close(slow.free)
	if call := harness.CollectCalls(t, 1, calls)[0]; call.Token == old || call.Err == nil {
		t.Errorf("the caller got %v, want Entra ID's failure and not the token that was removed", call.Err)
	}
}
