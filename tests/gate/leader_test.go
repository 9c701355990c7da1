package gate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// The leader is killed in mid-request: the others go on within LockTTL, with one more request and without an error.
func TestLeaderKilledOthersGoOn(t *testing.T) {
	t.Parallel()
	const lockTTL = 2 * time.Second
	w := harness.NewWorld(t)
	d := w.Door(first())
	ps := w.Processes(4, func(c *harness.WorkerConfig) { c.LockTTL = lockTTL })
	ps[0].Send(harness.Order{Op: "app", Scopes: []string{harness.GraphScope}})
	d.Wait(t)
	others := ps[1:]
	for _, p := range others {
		p.Send(harness.Order{Op: "app", Scopes: []string{harness.GraphScope}, N: 8})
	}
	w.LeaseWaiters(t, len(others))
	ps[0].Kill()
	killed := time.Now()
	var outs []harness.Outcome
	for _, p := range others {
		outs = append(outs, p.Receive())
	}
	// What is left of the lease, the waiters' next look, one request: the rest is for a busy machine.
	if took := time.Since(killed); took > lockTTL+5*time.Second {
		t.Errorf("the others went on after %v", took)
	}
	harness.SameToken(t, outs)
	w.Count(t, 2, "the killed leader's request and one more")
}

// The same for a user's refresh that the leader had only begun.
func TestLeaderOfUserRefreshKilledOthersGoOn(t *testing.T) {
	t.Parallel()
	const lockTTL = 2 * time.Second
	w := harness.NewWorld(t)
	w.Rotating()
	u := w.AddUsers(1)[0]
	i := w.Instance()
	i.SignIn(i.App(), u)
	d := w.Door(first())
	ps := w.Processes(3, func(c *harness.WorkerConfig) { c.LockTTL = lockTTL })
	o := harness.Order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{harness.MailScope}, N: 4}
	ps[0].Send(o)
	d.Wait(t)
	ps[1].Send(o)
	ps[2].Send(o)
	w.LeaseWaiters(t, 2)
	// The emulator redeems a held request's token when it is let go, client or not, so this one is refused before.
	w.Entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable, Times: 1,
		Match: func(r entratest.Request) bool { return r.Grant == harness.RefreshGrant && r.ID == 2 }})
	ps[0].Kill()
	harness.SameToken(t, []harness.Outcome{ps[1].Receive(), ps[2].Receive()})
	w.Count(t, 2, "the killed leader's request and one more", entratest.ByGrant(harness.RefreshGrant))
}

// All callers of a refresh leave before its answer comes: the rotated refresh token is in Redis all the same.
func TestRefreshGoesOnWhenAllCallersHaveLeft(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	u := w.AddUsers(1)[0]
	a := w.Instance()
	appA := a.App()
	a.SignIn(appA, u)
	d := w.Door(entratest.ByGrant(harness.RefreshGrant))
	ctx, leave := context.WithCancel(context.Background())
	outs := harness.StartCalls(4, func(int) (confidential.AuthResult, error) {
		return harness.Silent(ctx, appA, u.HomeAccountID(), harness.MailScope)
	})
	d.Wait(t)
	harness.InGate(t, 4)
	leave()
	for _, g := range harness.CollectCalls(t, 4, outs) {
		if !errors.Is(g.Err, context.Canceled) {
			t.Errorf("a caller that left got: %v", g.Err)
		}
	}
	d.Open()
	harness.Eventually(t, "the answer", func() bool {
		for _, r := range w.Entra.Requests() {
			if r.Grant == harness.RefreshGrant && r.Status == 0 {
				return false
			}
		}
		return true
	})
	appB := w.Instance().App()
	harness.Must(t)(harness.Silent(context.Background(), appB, u.HomeAccountID(), harness.FilesScope))
	harness.Must(t)(harness.Silent(context.Background(), appB, u.HomeAccountID(), harness.MailScope))
	if g := w.Generations(); fmt.Sprint(g) != "[1 2]" {
		t.Errorf("generations redeemed: %v, want [1 2]: the token that nobody waited for was lost%s",
			g, harness.RequestsText(w.Entra.Requests()))
	}
	w.NoRefusals(t)
}
