package gate_test

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// stampeding is how many processes come at once where the grant is what is tested: one sends the request, two wait.
// That more of them make no difference, 8 show for app tokens.
const stampeding = 3

// 8 processes x 32 goroutines whose token has expired: exactly one more request.
func TestStampedeExpiredAppTokensOneRequest(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	w.Lasting(3 * time.Second)
	ps := w.Processes(8)
	o := harness.Order{Op: "app", Scopes: []string{harness.GraphScope}}
	for _, out := range harness.DoAll(ps, o) {
		for _, e := range out.Errors {
			t.Fatal(e)
		}
	}
	w.Expire(3 * time.Second)
	o.N = 32
	harness.SameToken(t, harness.DoAll(ps, o))
	w.Count(t, 1, "stampede on an expired token")
}

// The same for users' tokens, with refresh tokens that serve once, from fewer processes.
func TestStampedeExpiredUserTokensOneRedemption(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	w.Rotating()
	u := w.AddUsers(1)[0]
	w.Lasting(3 * time.Second)
	i := w.Instance()
	i.SignIn(i.App(), u)
	ps := w.Processes(stampeding)
	o := harness.Order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{harness.UserScope}}
	for _, out := range harness.DoAll(ps, o) {
		for _, e := range out.Errors {
			t.Fatal(e)
		}
	}
	w.Expire(3 * time.Second)
	o.N = 32
	harness.SameToken(t, harness.DoAll(ps, o))
	w.Count(t, 1, "stampede on an expired token")
	w.NoRefusals(t)
}

// And for on-behalf-of with one assertion, where MSAL goes on with the refresh token of the expired one.
func TestStampedeExpiredOnBehalfOfOneRequest(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	w.Rotating()
	assertion := w.Assertion(t, w.AddUsers(1)[0])
	w.Lasting(3 * time.Second)
	ps := w.Processes(stampeding)
	o := harness.Order{Op: "obo", Assertion: assertion, Scopes: []string{harness.UserScope}}
	for _, out := range harness.DoAll(ps, o) {
		for _, e := range out.Errors {
			t.Fatal(e)
		}
	}
	w.Expire(3 * time.Second)
	o.N = 32
	harness.SameToken(t, harness.DoAll(ps, o))
	w.Count(t, 1, "stampede on an expired token")
	w.NoRefusals(t)
}
