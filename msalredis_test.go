package msalredis_test

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// A second process gets an app's token without any token request.
func TestSecondProcessGetsAppTokenWithoutTokenRequest(t *testing.T) {
	w := newWorld(t)
	ps := w.processes(2)
	first := ps[0].do(order{Op: "app", Scopes: []string{graph}})
	w.count(t, 1, "first process")
	ps[0].end()
	second := ps[1].do(order{Op: "app", Scopes: []string{graph}})
	same(t, []outcome{first, second})
	w.count(t, 1, "second process")
}

// So does a user's AcquireTokenSilent, also after the process of the sign-in is gone.
func TestSecondProcessGetsUserTokenWithoutTokenRequest(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	first := w.instance()
	result := first.signIn(first.app(), u)
	first.close()
	out := w.processes(1)[0].do(order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{userScope}})
	same(t, []outcome{{Tokens: []string{hashOf(result.AccessToken)}}, out})
	w.count(t, 1, "sign-in and silent call")
}

// 8 processes x 32 goroutines, cold: exactly one token request per distinct tenant and scope.
func TestStampedeColdAppTokensOneRequestEach(t *testing.T) {
	w := newWorld(t)
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 300 * time.Millisecond })
	ps := w.processes(8)
	other := "0d2b5a00-1111-4222-8333-000000000009"
	for _, tn := range []string{tenant, other} {
		for _, scope := range []string{graph, "https://org.crm4.dynamics.com/.default"} {
			same(t, all(ps, order{Op: "app", Tenant: tn, Scopes: []string{scope}, N: 32}))
			w.count(t, 1, "stampede", entratest.ByTenant(tn), entratest.ByScope(scope))
		}
	}
}

// The same for refresh_token grants, where a second redemption is an error.
func TestStampedeRefreshTokenOneRedemption(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RotateRefreshTokens = true })
	i := w.instance()
	i.signIn(i.app(), u)
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 300 * time.Millisecond })
	ps := w.processes(8)
	same(t, all(ps, order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{mailScope}, N: 32}))
	w.count(t, 1, "refresh", entratest.ByGrant("refresh_token"))
}

// The same for on-behalf-of with one assertion.
func TestStampedeOnBehalfOfOneRequest(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	assertion, err := w.entra.UserToken(clientID, u.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 300 * time.Millisecond })
	ps := w.processes(8)
	same(t, all(ps, order{Op: "obo", Assertion: assertion, Scopes: []string{userScope}, N: 32}))
	w.count(t, 1, "on-behalf-of")
}
