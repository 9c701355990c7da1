package gate_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// user_fic, for which MSAL asks its cache nothing: two instances share.
func TestUserFICIsShared(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	users := w.AddUsers(2)
	credential, err := w.Entra.FederatedCredential(harness.ClientID)
	if err != nil {
		t.Fatal(err)
	}
	acquire := func(app confidential.Client, u entratest.User) string {
		t.Helper()
		return harness.Must(t)(app.AcquireTokenByUserFederatedIdentityCredential(ctx, []string{harness.UserScope},
			credential, confidential.WithUserFICUsername(u.Username)))
	}
	a, b := w.Instance().App(), w.Instance().App()
	if acquire(a, users[0]) != acquire(b, users[0]) {
		t.Error("two instances have different tokens")
	}
	w.Count(t, 1, "two instances")
	if acquire(a, users[0]) == acquire(b, users[1]) {
		t.Error("two users have the same token")
	}
	w.Count(t, 2, "another user")
	// What it brought is found silently.
	harness.Must(t)(harness.Silent(ctx, w.Instance().App(), users[1].HomeAccountID()))
	w.Count(t, 2, "silently")
}

// After their expiry on-behalf-of tokens go on with the refresh token, in every instance: one that has slept through
// a refresh does not fail either, though its refresh token has been redeemed.
func TestOnBehalfOfGoesOnAfterExpiryOnEveryInstance(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	w.Rotating()
	assertion := w.Assertion(t, w.AddUsers(1)[0])
	const usable = 2 * time.Second
	w.Lasting(usable)
	ps := w.Processes(3)
	o := harness.Order{Op: "obo", Assertion: assertion, Scopes: []string{harness.UserScope}, N: 4}
	for _, out := range harness.DoAll(ps, o) {
		for _, e := range out.Errors {
			t.Fatal(e)
		}
	}
	for round := range 2 {
		harness.WaitUntil(time.Now().Add(usable + time.Second))
		w.Entra.ResetRequests()
		for _, out := range harness.DoAll(ps[:2], o) {
			for _, e := range out.Errors {
				t.Errorf("round %d: %s", round, e)
			}
		}
	}
	harness.WaitUntil(time.Now().Add(usable + time.Second))
	w.Entra.ResetRequests()
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Hour })
	harness.SameToken(t, harness.DoAll(ps[2:], o)) // its MSAL has the first refresh token
	harness.SameToken(t, harness.DoAll(ps, o))
	w.NoRefusals(t)
	w.Count(t, 1, "after a refresh that one slept through")
}

// A refresh token of on-behalf-of that is refused is not the end: MSAL goes on with the assertion, and the refusal of
// the one is no answer to the other.
func TestOnBehalfOfGoesOnWhenItsRefreshTokenIsRefused(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	assertion := w.Assertion(t, w.AddUsers(1)[0])
	const usable = 2 * time.Second
	w.Lasting(usable)
	apps := []confidential.Client{w.Instance().App(), w.Instance().App()}
	acquire := func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope})
	}
	harness.Must(t)(acquire(0))
	harness.Must(t)(acquire(1))
	w.Expire(usable)
	w.Entra.AddFault(entratest.Fault{Match: entratest.ByGrant(harness.RefreshGrant), Status: http.StatusBadRequest,
		Body: entratest.ErrorBody("invalid_grant", 700082, "The refresh token has expired due to inactivity.")})
	harness.OneToken(t, harness.CollectCalls(t, 16, harness.StartCalls(16, acquire)))
	w.Count(t, 1, "the assertion again", entratest.ByGrant(harness.OboGrant))
}
