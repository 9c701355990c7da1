package msalredis_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crypto/x509"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

const (
	filesScope    = "https://graph.microsoft.com/Files.Read"
	calendarScope = "https://graph.microsoft.com/Calendars.Read"
	dynamics      = "https://org.crm4.dynamics.com/.default"
	refreshGrant  = "refresh_token"
	appGrant      = "client_credentials"
	oboGrant      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// door holds token requests on their arrival at the emulator until it is opened, so that what happens meanwhile
// happens meanwhile.
type door struct {
	arrived chan entratest.Request
	open    func()
}

func (w *world) door(match ...func(entratest.Request) bool) *door {
	opened := make(chan struct{})
	d := &door{arrived: make(chan entratest.Request, 4096), open: sync.OnceFunc(func() { close(opened) })}
	remove := w.entra.OnTokenRequest(func(r entratest.Request) {
		for _, m := range match {
			if !m(r) {
				return
			}
		}
		d.arrived <- r
		<-opened
	})
	w.t.Cleanup(func() {
		remove()
		d.open()
	})
	return d
}

// first matches one request only.
func first() func(entratest.Request) bool {
	var seen atomic.Bool
	return func(entratest.Request) bool { return seen.CompareAndSwap(false, true) }
}

func (d *door) wait(t *testing.T) entratest.Request {
	t.Helper()
	select {
	case r := <-d.arrived:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no token request within 20 s")
		return entratest.Request{}
	}
}

// inGate waits until n callers of this process wait for an answer in the gate. That a request has left MSAL is not
// enough to know that it has joined the others.
func inGate(t *testing.T, n int) {
	t.Helper()
	inStack(t, "msalredis.(*flight).wait(", n)
}

// inStack waits until a function is on the stacks of n goroutines.
func inStack(t *testing.T, function string, n int) {
	t.Helper()
	buf := make([]byte, 16<<20)
	eventually(t, fmt.Sprintf("%d goroutines in %s", n, function), func() bool {
		return bytes.Count(buf[:runtime.Stack(buf, true)], []byte(function)) >= n
	})
}

// leaseWaiters waits until n instances wait for the answer of one that holds a lease.
func (w *world) leaseWaiters(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d instances waiting for another's answer", n), func() bool {
		sum, err := w.redis.subscribers(context.Background(), w.prefix+":*:wake")
		return err == nil && sum >= n
	})
}

// got is what a caller got.
type got struct {
	token string
	err   error
}

// start runs f n times, each in a goroutine of its own.
func start(n int, f func(i int) (confidential.AuthResult, error)) <-chan got {
	out := make(chan got, n)
	for i := range n {
		go func() {
			r, err := f(i)
			out <- got{r.AccessToken, err}
		}()
	}
	return out
}

// collect takes n outcomes.
func collect(t *testing.T, n int, from <-chan got) []got {
	t.Helper()
	var all []got
	deadline := time.After(60 * time.Second)
	for range n {
		select {
		case g := <-from:
			canary.sawError(g.err)
			all = append(all, g)
		case <-deadline:
			t.Fatalf("%d of %d callers have come back within 60 s", len(all), n)
		}
	}
	return all
}

// oneToken checks that no caller failed and that all have the same token, and returns it.
func oneToken(t *testing.T, all []got) string {
	t.Helper()
	token := ""
	for _, g := range all {
		switch {
		case g.err != nil:
			t.Errorf("caller: %v", g.err)
		case token == "":
			token = g.token
		case token != g.token:
			t.Error("callers have different tokens")
		}
	}
	return token
}

func must(t *testing.T) func(confidential.AuthResult, error) string {
	return func(r confidential.AuthResult, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r.AccessToken
	}
}

// gateApp is a client with the gate alone, as an Azure SDK credential has it.
func (i *instance) gateApp(opts ...confidential.Option) confidential.Client {
	i.w.t.Helper()
	return newApp(i.w.t, i.w.entra.Authority(tenant), nil, i.http, opts...)
}

// generations are those of the refresh tokens redeemed, in order.
func (w *world) generations() []int {
	var all []int
	for _, r := range w.entra.Requests() {
		if r.Grant == refreshGrant {
			all = append(all, r.RefreshTokenGeneration)
		}
	}
	return all
}

func (w *world) noRefusals(t *testing.T) {
	t.Helper()
	for _, r := range w.entra.Requests() {
		if r.Status != http.StatusOK {
			t.Errorf("request #%d %s: %d %s", r.ID, r.Grant, r.Status, r.Error)
		}
	}
}

func (w *world) rotating() {
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RotateRefreshTokens = true })
}

const challenge = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`

// A request with a claims challenge is answered by nothing older than itself: what there is, a resource has refused.
// Concurrent requests with the same challenge are one request, on two instances too; a later one is a new request.
func TestClaimsChallengeAnsweredByNothingOlder(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	a, b := w.instance(), w.instance()
	appA, appB := a.app(), b.app()
	old := must(t)(appA.AcquireTokenByCredential(ctx, []string{graph}))
	second := must(t)(appB.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithClaims(challenge)))
	if second == old {
		t.Error("a challenge was answered by the token that was refused")
	}
	w.count(t, 2, "a token and a challenge")
	// Its answer takes the place of the one that was refused, for everybody.
	if token := must(t)(w.instance().gateApp().AcquireTokenByCredential(ctx, []string{graph})); token != second {
		t.Error("without the challenge the token that was refused is still served")
	}
	w.count(t, 2, "after the challenge")

	d := w.door()
	outs := start(16, func(i int) (confidential.AuthResult, error) {
		app := appA
		if i%2 == 1 {
			app = appB
		}
		return app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithClaims(challenge))
	})
	d.wait(t)
	inGate(t, 16)
	w.leaseWaiters(t, 1)
	d.open()
	third := oneToken(t, collect(t, 16, outs))
	if third == second || third == old {
		t.Error("concurrent challenges were answered by something older")
	}
	w.count(t, 3, "16 concurrent challenges")

	later := must(t)(appA.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithClaims(challenge)))
	if later == third {
		t.Error("a later challenge was answered by the answer to an earlier one")
	}
	w.count(t, 4, "a later challenge")
}

// Claims of the client's own look like a challenge, and their tokens are cached: MSAL keeps them apart from those without, and
// so does the fleet.
func TestTokensWithClaimsFromClientAreKeptApart(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	u := w.addUsers(1)[0]
	assertion := w.assertion(t, u)
	first := w.instance()
	first.signIn(first.app(), u)
	const claims = `{"access_token":{"xms_az_nwperimid":{"values":["perimeter"]}}}`
	for name, acquire := range map[string]func(app confidential.Client, own bool) (confidential.AuthResult, error){
		"app": func(app confidential.Client, own bool) (confidential.AuthResult, error) {
			if own {
				return app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithClaimsFromClient(claims))
			}
			return app.AcquireTokenByCredential(ctx, []string{graph})
		},
		"user": func(app confidential.Client, own bool) (confidential.AuthResult, error) {
			account, err := app.Account(ctx, u.HomeAccountID())
			if err != nil {
				return confidential.AuthResult{}, err
			}
			if own {
				return app.AcquireTokenSilent(ctx, []string{mailScope}, confidential.WithSilentAccount(account), confidential.WithClaimsFromClient(claims))
			}
			return app.AcquireTokenSilent(ctx, []string{mailScope}, confidential.WithSilentAccount(account))
		},
		"on behalf of": func(app confidential.Client, own bool) (confidential.AuthResult, error) {
			if own {
				return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope}, confidential.WithClaimsFromClient(claims))
			}
			return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope})
		},
	} {
		with := must(t)(acquire(w.instance().app(), true))
		if plain := must(t)(acquire(w.instance().app(), false)); plain == with {
			t.Errorf("%s: a call without claims got the token with them", name)
		}
		if name != "on behalf of" { // whose tokens MSAL does not export
			sent := w.entra.Count()
			if again := must(t)(acquire(w.instance().app(), true)); again != with {
				t.Errorf("%s: the token with claims is not shared", name)
			}
			w.count(t, sent, name+": the token with claims is shared")
		}
	}
}

// The same for a user's token, where only public clients take a challenge silently.
func TestClaimsChallengeOfUserAnsweredByNothingOlder(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	ctx := context.Background()
	u := w.addUsers(1)[0]
	a, b := w.instance(), w.instance()
	clients := []public.Client{a.public(), b.public()}
	link, err := clients[0].AuthCodeURL(ctx, publicID, redirectURI, []string{userScope})
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.entra.AuthorizeCode(link, u.Username)
	if err != nil {
		t.Fatal(err)
	}
	old := must(t)(clients[0].AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope}))
	challenged := func(i int) (confidential.AuthResult, error) {
		accounts, err := clients[i%2].Accounts(ctx)
		if err != nil || len(accounts) != 1 {
			return confidential.AuthResult{}, fmt.Errorf("%d accounts: %w", len(accounts), err)
		}
		return clients[i%2].AcquireTokenSilent(ctx, []string{userScope}, public.WithSilentAccount(accounts[0]), public.WithClaims(challenge))
	}
	second := must(t)(challenged(1))
	if second == old {
		t.Error("a challenge was answered by the token that was refused")
	}
	w.count(t, 1, "one challenge", entratest.ByGrant(refreshGrant))
	third := oneToken(t, stampede(t, w, challenged))
	if third == second || third == old {
		t.Error("concurrent challenges were answered by something older")
	}
	w.count(t, 2, "16 concurrent challenges", entratest.ByGrant(refreshGrant))
	if later := must(t)(challenged(0)); later == third {
		t.Error("a later challenge was answered by the answer to an earlier one")
	}
	w.count(t, 3, "a later challenge", entratest.ByGrant(refreshGrant))
	w.noRefusals(t)
}

// Capabilities, which CAE clients send with every request, are no challenge: tokens are shared as usual, but with
// such clients only, because a client without them cannot handle what an API may answer to such a token.
func TestCapabilitiesShareTokensAmongThemselves(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	cp1 := confidential.WithClientCapabilities([]string{"CP1"})
	scopes := []string{graph}
	t.Run("gate alone", func(t *testing.T) {
		one := must(t)(w.instance().gateApp(cp1).AcquireTokenByCredential(ctx, scopes))
		two := must(t)(w.instance().gateApp(cp1).AcquireTokenByCredential(ctx, scopes))
		if one != two {
			t.Error("two instances with CP1 have different tokens")
		}
		w.count(t, 1, "two instances with CP1")
		if plain := must(t)(w.instance().gateApp().AcquireTokenByCredential(ctx, scopes)); plain == one {
			t.Error("a client without CP1 got the token of one with it")
		}
		w.count(t, 2, "one instance without CP1")
	})
	t.Run("gate and accessor", func(t *testing.T) {
		w.entra.ResetRequests()
		scopes := []string{dynamics}
		one := must(t)(w.instance().app(cp1).AcquireTokenByCredential(ctx, scopes))
		two := must(t)(w.instance().app(cp1).AcquireTokenByCredential(ctx, scopes))
		if one != two {
			t.Error("two instances with CP1 have different tokens")
		}
		w.count(t, 1, "two instances with CP1")
	})
	t.Run("with a challenge", func(t *testing.T) {
		w.entra.ResetRequests()
		app := w.instance().app(cp1)
		one := must(t)(app.AcquireTokenByCredential(ctx, scopes))
		two := must(t)(app.AcquireTokenByCredential(ctx, scopes, confidential.WithClaims(challenge)))
		if one == two {
			t.Error("a challenge beside capabilities was answered by something older")
		}
	})
}

// expire lets what was acquired before run out, and gives what comes next a long life.
func (w *world) expire(usable time.Duration) {
	waitUntil(time.Now().Add(usable + time.Second))
	w.entra.SetBehavior(func(b *entratest.Behavior) {
		b.AccessTokenLifetime = time.Hour
		b.Latency = 300 * time.Millisecond
	})
	w.entra.ResetRequests()
}

// 8 processes x 32 goroutines whose token has expired: exactly one more request.
func TestStampedeExpiredAppTokensOneRequest(t *testing.T) {
	w := newWorld(t)
	w.lasting(3 * time.Second)
	ps := w.processes(8)
	o := order{Op: "app", Scopes: []string{graph}}
	for _, out := range all(ps, o) {
		for _, e := range out.Errors {
			t.Fatal(e)
		}
	}
	w.expire(3 * time.Second)
	o.N = 32
	same(t, all(ps, o))
	w.count(t, 1, "stampede on an expired token")
}

// The same for users' tokens, with refresh tokens that serve once.
func TestStampedeExpiredUserTokensOneRedemption(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	u := w.addUsers(1)[0]
	w.lasting(3 * time.Second)
	i := w.instance()
	i.signIn(i.app(), u)
	ps := w.processes(8)
	o := order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{userScope}}
	for _, out := range all(ps, o) {
		for _, e := range out.Errors {
			t.Fatal(e)
		}
	}
	w.expire(3 * time.Second)
	o.N = 32
	same(t, all(ps, o))
	w.count(t, 1, "stampede on an expired token")
	w.noRefusals(t)
}

// The same for on-behalf-of with one assertion, where MSAL goes on with the refresh token of the expired one.
func TestStampedeExpiredOnBehalfOfOneRequest(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	assertion := w.assertion(t, w.addUsers(1)[0])
	w.lasting(3 * time.Second)
	ps := w.processes(8)
	o := order{Op: "obo", Assertion: assertion, Scopes: []string{userScope}}
	for _, out := range all(ps, o) {
		for _, e := range out.Errors {
			t.Fatal(e)
		}
	}
	w.expire(3 * time.Second)
	o.N = 32
	same(t, all(ps, o))
	w.count(t, 1, "stampede on an expired token")
	w.noRefusals(t)
}

func (w *world) assertion(t *testing.T, u entratest.User) string {
	t.Helper()
	assertion, err := w.entra.UserToken(clientID, u.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	return assertion
}

// The leader is killed in mid-request: the others go on within LockTTL, with one more request and without an error.
func TestLeaderKilledOthersGoOn(t *testing.T) {
	const lockTTL = 2 * time.Second
	w := newWorld(t)
	d := w.door(first())
	ps := w.processes(4, func(c *workerConfig) { c.LockTTL = lockTTL })
	ps[0].send(order{Op: "app", Scopes: []string{graph}})
	d.wait(t)
	others := ps[1:]
	for _, p := range others {
		p.send(order{Op: "app", Scopes: []string{graph}, N: 8})
	}
	w.leaseWaiters(t, len(others))
	ps[0].kill()
	killed := time.Now()
	var outs []outcome
	for _, p := range others {
		outs = append(outs, p.receive())
	}
	// What is left of the lease, the waiters' next look, one request: the rest is for a busy machine.
	if took := time.Since(killed); took > lockTTL+5*time.Second {
		t.Errorf("the others went on after %v", took)
	}
	same(t, outs)
	w.count(t, 2, "the killed leader's request and one more")
}

// The same for a user's refresh that the leader had only begun.
func TestLeaderOfUserRefreshKilledOthersGoOn(t *testing.T) {
	const lockTTL = 2 * time.Second
	w := newWorld(t)
	w.rotating()
	u := w.addUsers(1)[0]
	i := w.instance()
	i.signIn(i.app(), u)
	d := w.door(first())
	ps := w.processes(3, func(c *workerConfig) { c.LockTTL = lockTTL })
	o := order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{mailScope}, N: 4}
	ps[0].send(o)
	d.wait(t)
	ps[1].send(o)
	ps[2].send(o)
	w.leaseWaiters(t, 2)
	// The emulator redeems a held request's token when it is let go, client or not, so this one is refused before.
	w.entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable, Times: 1, Match: func(r entratest.Request) bool { return r.Grant == refreshGrant && r.ID == 2 }})
	ps[0].kill()
	same(t, []outcome{ps[1].receive(), ps[2].receive()})
	w.count(t, 2, "the killed leader's request and one more", entratest.ByGrant(refreshGrant))
}

// All callers of a refresh leave before its answer comes: the rotated refresh token is in Redis all the same.
func TestRefreshGoesOnWhenAllCallersHaveLeft(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	u := w.addUsers(1)[0]
	a := w.instance()
	appA := a.app()
	a.signIn(appA, u)
	d := w.door(entratest.ByGrant(refreshGrant))
	ctx, leave := context.WithCancel(context.Background())
	outs := start(4, func(int) (confidential.AuthResult, error) {
		return silent(ctx, appA, u.HomeAccountID(), mailScope)
	})
	d.wait(t)
	inGate(t, 4)
	leave()
	for _, g := range collect(t, 4, outs) {
		if !errors.Is(g.err, context.Canceled) {
			t.Errorf("a caller that left got: %v", g.err)
		}
	}
	d.open()
	eventually(t, "the answer", func() bool {
		for _, r := range w.entra.Requests() {
			if r.Grant == refreshGrant && r.Status == 0 {
				return false
			}
		}
		return true
	})
	appB := w.instance().app()
	must(t)(silent(context.Background(), appB, u.HomeAccountID(), filesScope))
	must(t)(silent(context.Background(), appB, u.HomeAccountID(), mailScope))
	if g := w.generations(); fmt.Sprint(g) != "[1 2]" {
		t.Errorf("generations redeemed: %v, want [1 2]: the token that nobody waited for was lost%s", g, summary(w.entra.Requests()))
	}
	w.noRefusals(t)
}

// Two scopes of one user requested at once on two instances redeem each refresh token once.
func TestTwoScopesAtOnceRedeemEachRefreshTokenOnce(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	u := w.addUsers(1)[0]
	a, b := w.instance(), w.instance()
	appA, appB := a.app(), b.app()
	a.signIn(appA, u)
	must(t)(silent(context.Background(), appB, u.HomeAccountID())) // both hold the first refresh token
	d := w.door(entratest.ByGrant(refreshGrant))
	outs := start(16, func(i int) (confidential.AuthResult, error) {
		app, scope := appA, mailScope
		if i%2 == 1 {
			app, scope = appB, filesScope
		}
		return silent(context.Background(), app, u.HomeAccountID(), scope)
	})
	d.wait(t)
	inGate(t, 16)
	w.leaseWaiters(t, 1)
	d.open()
	for _, g := range collect(t, 16, outs) {
		if g.err != nil {
			t.Error(g.err)
		}
	}
	if g := w.generations(); fmt.Sprint(g) != "[1 2]" {
		t.Errorf("generations redeemed: %v, want [1 2]%s", g, summary(w.entra.Requests()))
	}
	if n := w.entra.MaxConcurrent(entratest.ByGrant(refreshGrant)); n > 1 {
		t.Errorf("%d redemptions at once", n)
	}
	w.noRefusals(t)
}

// The same in processes, with four scopes.
func TestScopesAtOnceInProcessesRedeemEachRefreshTokenOnce(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	u := w.addUsers(1)[0]
	i := w.instance()
	i.signIn(i.app(), u)
	ps := w.processes(3)
	scopes := []string{mailScope, filesScope, calendarScope, "https://graph.microsoft.com/Notes.Read"}
	for _, out := range all(ps, order{Op: "silent", Account: u.HomeAccountID(), Scopes: scopes, N: 8, Split: true}) {
		for _, e := range out.Errors {
			t.Error(e)
		}
	}
	if g := w.generations(); fmt.Sprint(g) != "[1 2 3 4]" {
		t.Errorf("generations redeemed: %v, want 1 to 4%s", g, summary(w.entra.Requests()))
	}
	w.noRefusals(t)
}

// An instance whose MSAL holds a refresh token that another has redeemed since goes on with the newest one.
func TestOldRefreshTokenInMSALIsReplacedByTheNewest(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	ctx := context.Background()
	u := w.addUsers(1)[0]
	a, b := w.instance(), w.instance()
	appA, appB := a.app(), b.app()
	a.signIn(appA, u)
	must(t)(silent(ctx, appB, u.HomeAccountID()))
	must(t)(silent(ctx, appA, u.HomeAccountID(), mailScope))
	must(t)(silent(ctx, appA, u.HomeAccountID(), filesScope))
	must(t)(silent(ctx, appB, u.HomeAccountID(), calendarScope))
	if g := w.generations(); fmt.Sprint(g) != "[1 2 3]" {
		t.Errorf("generations redeemed: %v, want [1 2 3]%s", g, summary(w.entra.Requests()))
	}
	w.noRefusals(t)
}

// stampede has 16 callers on two instances wait in the gate for one request, and returns what they get.
func stampede(t *testing.T, w *world, f func(i int) (confidential.AuthResult, error)) []got {
	t.Helper()
	d := w.door()
	outs := start(16, f)
	d.wait(t)
	inGate(t, 16)
	w.leaseWaiters(t, 1)
	d.open()
	return collect(t, 16, outs)
}

// A refused refresh token: Entra ID's error comes as it is to all who waited, after one request.
func TestInvalidGrantReachesAllAfterOneRequest(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	ctx := context.Background()
	u := w.addUsers(1)[0]
	a, b := w.instance(), w.instance()
	apps := []confidential.Client{a.app(), b.app()}
	a.signIn(apps[0], u)
	w.entra.RevokeUser(u.HomeAccountID())
	for _, g := range stampede(t, w, func(i int) (confidential.AuthResult, error) {
		return silent(ctx, apps[i%2], u.HomeAccountID(), mailScope)
	}) {
		if g.err == nil || !strings.Contains(g.err.Error(), "AADSTS50173") || !strings.Contains(g.err.Error(), "invalid_grant") {
			t.Errorf("a caller got %v, want AADSTS50173", g.err)
		}
	}
	w.count(t, 1, "stampede on a revoked user", entratest.ByGrant(refreshGrant))
	// A new sign-in ends it at once.
	a.signIn(apps[0], u)
	must(t)(silent(ctx, apps[0], u.HomeAccountID(), mailScope))
}

// A refused client: likewise, and clients with the right secret are not affected.
func TestClientErrorReachesAllAfterOneRequest(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	a, b := w.instance(), w.instance()
	cred, err := confidential.NewCredFromSecret("not-the-secret-of-this-client")
	if err != nil {
		t.Fatal(err)
	}
	var apps []confidential.Client
	for _, i := range []*instance{a, b} {
		app, err := confidential.New(w.entra.Authority(tenant), clientID, cred, confidential.WithCache(i.tokens), confidential.WithHTTPClient(i.http))
		if err != nil {
			t.Fatal(err)
		}
		apps = append(apps, app)
	}
	for _, g := range stampede(t, w, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{graph})
	}) {
		if g.err == nil || !strings.Contains(g.err.Error(), "AADSTS7000215") {
			t.Errorf("a caller got %v, want AADSTS7000215", g.err)
		}
	}
	w.count(t, 1, "stampede with a wrong secret")
	must(t)(a.app().AcquireTokenByCredential(ctx, []string{graph}))
	w.count(t, 2, "another client with the right one")
}

// 429 with Retry-After: one request, and everybody learns how long to wait; other identities go on.
func TestThrottlingReachesAllAfterOneRequest(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	a, b := w.instance(), w.instance()
	apps := []confidential.Client{a.app(), b.app()}
	w.entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "7", Match: entratest.ByScope(graph)})
	throttled := func(err error) {
		t.Helper()
		var call msalerrors.CallErr
		if !errors.As(err, &call) || call.Resp.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("a caller got %v, want 429", err)
		}
		var left int
		if n, _ := fmt.Sscan(call.Resp.Header.Get("Retry-After"), &left); n != 1 || left < 1 || left > 7 {
			t.Errorf("Retry-After is %q, want what is left of 7", call.Resp.Header.Get("Retry-After"))
		}
	}
	for _, g := range stampede(t, w, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{graph})
	}) {
		throttled(g.err)
	}
	w.count(t, 1, "throttled stampede")
	// Who comes next, on another instance too, learns it without asking.
	_, err := w.instance().app().AcquireTokenByCredential(ctx, []string{graph})
	throttled(err)
	w.count(t, 1, "after the throttling")
	must(t)(apps[0].AcquireTokenByCredential(ctx, []string{dynamics}))
	w.count(t, 2, "another scope")
}

// A server's error or a connection that drops, once: the leader asks again and callers see a token.
func TestPassingFailureIsRetriedOnce(t *testing.T) {
	for name, fault := range map[string]entratest.Fault{
		"500":     {Status: http.StatusInternalServerError},
		"502":     {Status: http.StatusBadGateway},
		"503":     {Status: http.StatusServiceUnavailable},
		"504":     {Status: http.StatusGatewayTimeout},
		"dropped": {Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ctx := context.Background()
			apps := []confidential.Client{w.instance().app(), w.instance().app()}
			fault.Times = 1
			w.entra.AddFault(fault)
			oneToken(t, stampede(t, w, func(i int) (confidential.AuthResult, error) {
				return apps[i%2].AcquireTokenByCredential(ctx, []string{graph})
			}))
			w.count(t, 2, "a failure and its retry")
		})
	}
}

// One retry, no more: a server that goes on failing is left in peace, and its error reaches the callers.
func TestLastingFailureIsRetriedOnce(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	apps := []confidential.Client{w.instance().app(), w.instance().app()}
	w.entra.AddFault(entratest.Fault{Status: http.StatusBadGateway})
	for _, g := range stampede(t, w, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{graph})
	}) {
		if g.err == nil || !strings.Contains(g.err.Error(), "reply status code was 502") {
			t.Errorf("a caller got %v, want the server's 502", g.err)
		}
	}
	w.count(t, 2, "a failure and its retry")
}

// Whatever the server answers, MSAL sees it with the gate as it would without.
func TestOddAnswersPassAsMSALWouldSeeThem(t *testing.T) {
	identity := func(b []byte) []byte { return b }
	for name, fault := range map[string]entratest.Fault{
		"JSON called HTML":      {Transform: identity, ContentType: "text/html; charset=utf-8"},
		"JSON called nothing":   {Transform: identity, ContentType: "application/octet-stream"},
		"HTML":                  {Body: "<html><body>Sign in</body></html>"},
		"empty":                 {Status: http.StatusOK, Body: " "},
		"no content":            {Status: http.StatusAccepted, Body: "{}"},
		"404 in HTML":           {Status: http.StatusNotFound, Body: "<html>not here</html>"},
		"400 with an odd body":  {Status: http.StatusBadRequest, Body: `["what"]`},
		"error with status 200": {Body: `{"error":"temporarily_unavailable","error_description":"AADSTS90033"}`},
		"JSON after a prefix":   {Transform: func(b []byte) []byte { return append([]byte(")]}'\n"), b...) }},
		"an unknown member":     {Transform: func(b []byte) []byte { return append([]byte(`{"x":{"y":[1,2.5e3,null]},`), b[1:]...) }},
		"expires_in as a string": {Transform: func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"expires_in":3600`), []byte(`"expires_in":"3600"`), 1)
		}},
		"expires_in as a decimal": {Transform: func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"expires_in":3600`), []byte(`"expires_in":3600.5`), 1)
		}},
		"expires_on as a date": {Transform: func(b []byte) []byte { return append([]byte(`{"expires_on":"2098-01-02T03:04:05Z",`), b[1:]...) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ctx := context.Background()
			plain := newApp(t, w.entra.Authority(tenant), nil, w.entra.HTTPClient())
			gated := w.instance().app()
			w.entra.AddFault(fault)
			without, err1 := plain.AcquireTokenByCredential(ctx, []string{graph})
			with, err2 := gated.AcquireTokenByCredential(ctx, []string{graph})
			if comparable(w, err1) != comparable(w, err2) {
				t.Errorf("without the gate: %v\nwith it: %v", err1, err2)
			}
			if (without.AccessToken == "") != (with.AccessToken == "") {
				t.Errorf("without the gate a token: %v, with it: %v", without.AccessToken != "", with.AccessToken != "")
			}
			if d := without.ExpiresOn.Sub(with.ExpiresOn).Abs(); d > 20*time.Second {
				t.Errorf("without the gate it expires at %v, with it at %v", without.ExpiresOn, with.ExpiresOn)
			}
		})
	}
}

// An answer that is no token with a life is nobody else's: MSAL sees it as it would without the gate, or a clear error
// where it is too large to read; it is not kept for others, and what there was before is still there: the app's old token,
// which was being refreshed, the user's, and the refresh token.
func TestOddAnswersAreNotKeptAndLoseNothing(t *testing.T) {
	life := func(to string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(`"expires_in":3600`), []byte(to), 1) }
	}
	const tooLarge = "larger than 1 MiB"
	for name, test := range map[string]struct {
		fault entratest.Fault
		says  string // of the gate's own error; empty: as without the gate
	}{
		"not JSON":                {fault: entratest.Fault{Body: "<html><body>Sign in</body></html>"}},
		"cut off":                 {fault: entratest.Fault{Transform: func(b []byte) []byte { return b[:len(b)-2] }}},
		"no access token":         {fault: entratest.Fault{Transform: func(b []byte) []byte { return bytes.Replace(b, []byte(`"access_token"`), []byte(`"x"`), 1) }}},
		"without expires_in":      {fault: entratest.Fault{Transform: life(`"x":1`)}},
		"expires_in null":         {fault: entratest.Fault{Transform: life(`"expires_in":null`)}},
		"expires_in in words":     {fault: entratest.Fault{Transform: life(`"expires_in":"an hour"`)}},
		"no life":                 {fault: entratest.Fault{Transform: life(`"expires_in":0`)}},
		"negative life":           {fault: entratest.Fault{Transform: life(`"expires_in":-3600`)}},
		"negative life, a string": {fault: entratest.Fault{Transform: life(`"expires_in":"-3600"`)}},
		"expired in expires_on":   {fault: entratest.Fault{Transform: func(b []byte) []byte { return append([]byte(`{"expires_on":1500000000,`), b[1:]...) }}},
		"larger than 1 MiB": {says: tooLarge, fault: entratest.Fault{Transform: func(b []byte) []byte {
			return append([]byte(`{"x":"`+strings.Repeat("x", 1<<20)+`",`), b[1:]...)
		}}},
		"larger than 1 MiB, no JSON": {says: tooLarge, fault: entratest.Fault{Body: strings.Repeat("<p>", 1<<19)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // nearly all of it is the wait for a token to be due
			w := newWorld(t)
			ctx := context.Background()
			u := w.addUsers(1)[0]
			w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn, b.AccessTokenLifetime = time.Second, time.Hour })
			a, b := w.instance(), w.instance()
			app := a.app()
			due := must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
			w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = 0 })
			user := a.signIn(app, u).AccessToken
			plain := newApp(t, w.entra.Authority(tenant), nil, w.entra.HTTPClient())
			a.signIn(plain, u)
			before := w.responses()
			if len(before) == 0 {
				t.Fatal("no answer is kept: this test shows nothing")
			}
			waitUntil(time.Now().Add(1500 * time.Millisecond))

			w.entra.ResetRequests()
			var sent atomic.Value
			sent.Store([]byte(test.fault.Body))
			if transform := test.fault.Transform; transform != nil {
				test.fault.Transform = func(b []byte) []byte {
					b = transform(b)
					sent.Store(b)
					return b
				}
			}
			remove := w.entra.AddFault(test.fault)
			defer remove()
			// The old token is served while its refresh is answered so.
			if must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) != due {
				t.Error("not the old token while it is being refreshed")
			}
			eventually(t, "the refresh is answered", func() bool {
				return len(w.entra.Requests()) > 0 && !w.entra.Requests()[0].Answered.IsZero()
			})
			form := url.Values{"grant_type": {appGrant}, "client_id": {clientID}, "client_secret": {clientSecret}, "scope": {"https://raw.example.com/.default"}}
			resp, err := a.http.PostForm(w.entra.Authority(tenant)+"/oauth2/v2.0/token", form)
			if err == nil {
				body, readErr := io.ReadAll(resp.Body)
				resp.Body.Close()
				if readErr != nil || !bytes.Equal(body, sent.Load().([]byte)) {
					t.Errorf("the answer is not what the server sent: %d bytes of %d, %v", len(body), len(sent.Load().([]byte)), readErr)
				}
			}
			if (err == nil) != (test.says == "") {
				t.Errorf("the request itself: %v", err)
			}
			for what, acquire := range map[string]func(confidential.Client) (confidential.AuthResult, error){
				"app": func(c confidential.Client) (confidential.AuthResult, error) {
					return c.AcquireTokenByCredential(ctx, []string{dynamics})
				},
				"user": func(c confidential.Client) (confidential.AuthResult, error) {
					return silent(ctx, c, u.HomeAccountID(), mailScope)
				},
			} {
				with, err := acquire(app)
				canary.sawError(err)
				if test.says != "" {
					var final interface{ NonRetriable() }
					if err == nil || !strings.Contains(err.Error(), test.says) || !errors.As(err, &final) {
						t.Errorf("%s: %v, want an error that says %q and is not retried", what, err, test.says)
					}
					continue
				}
				without, plainErr := acquire(plain)
				if comparable(w, err) != comparable(w, plainErr) {
					t.Errorf("%s: without the gate: %v\nwith it: %v", what, plainErr, err)
				}
				if (without.AccessToken == "") != (with.AccessToken == "") || without.ExpiresOn.Sub(with.ExpiresOn).Abs() > 20*time.Second {
					t.Errorf("%s: without the gate a token: %v, until %v; with it: %v, until %v", what, without.AccessToken != "", without.ExpiresOn, with.AccessToken != "", with.ExpiresOn)
				}
			}

			// Nothing of it is kept, and all that was there is.
			if after := w.responses(); !maps.Equal(before, after) {
				t.Errorf("the answers that are kept have changed: %d before, %d after", len(before), len(after))
			}
			for name, app := range map[string]confidential.Client{"same": app, "other": b.app(), "gate alone on a new": w.instance().gateApp()} {
				if must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) != due {
					t.Errorf("%s instance: the app's token is another", name)
				}
				if name == "gate alone on a new" {
					continue
				}
				if must(t)(silent(ctx, app, u.HomeAccountID())) != user {
					t.Errorf("%s instance: the user's token is another", name)
				}
			}
			remove()
			other := b.app()
			eventually(t, "the refresh token serves again", func() bool { // an error is everybody's for two seconds
				_, err := silent(ctx, other, u.HomeAccountID(), mailScope)
				return err == nil
			})
		})
	}
}

// responses are the kept answers, as they stand in Redis.
func (w *world) responses() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, key := range w.keysLike(":response") {
		all[key] = w.redis.admin.Get(context.Background(), key).Val()
	}
	return all
}

// comparable is an error's text without the tokens in the body that MSAL quotes, which differ.
func comparable(w *world, err error) string {
	text := fmt.Sprint(err)
	for _, s := range w.entra.Secrets() {
		text = strings.ReplaceAll(text, s, "")
	}
	return text
}

// Azure SDK credentials share through the gate alone: two processes, one token request.
func TestAzureSDKCredentialsInTwoProcessesOneRequest(t *testing.T) {
	w := newWorld(t)
	cert, key := selfSigned(t)
	w.entra.AddApp(entratest.App{ClientID: clientID, Secret: clientSecret, Certificate: cert})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	ps := w.processes(2)
	for _, op := range []string{"azsecret", "azcert"} {
		w.entra.ResetRequests()
		o := order{Op: op, Scopes: []string{graph}, CertPEM: bundle, N: 8}
		same(t, all(ps, o))
		w.count(t, 1, op+" at once")
		o.Scopes = []string{dynamics}
		same(t, []outcome{ps[0].do(o), ps[1].do(o)})
		w.count(t, 2, op+" one after the other")
	}
}

// A token that is due is served at once, without a wait and without an error, while one instance refreshes it; then
// the new one is served.
func TestDueAppTokenIsServedWhileOneInstanceRefreshes(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
	apps := []confidential.Client{w.instance().app(), w.instance().app()}
	old := must(t)(apps[0].AcquireTokenByCredential(ctx, []string{graph}))
	must(t)(apps[1].AcquireTokenByCredential(ctx, []string{graph}))
	w.count(t, 1, "before it is due")
	waitUntil(time.Now().Add(1500 * time.Millisecond))

	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = 0 })
	d := w.door()
	// While the door is shut nobody can have waited for the refresh and come back.
	if token := oneToken(t, collect(t, 64, start(64, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{graph})
	}))); token != old {
		t.Error("another token than the old one was served before there was one")
	}
	d.wait(t)
	w.count(t, 2, "while it is being refreshed")
	d.open()
	eventually(t, "the new token on a new instance", func() bool {
		return must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph})) != old
	})
	// The others were told to ask again in 5 to 30 s.
	deadline := time.Now().Add(40 * time.Second)
	for _, app := range apps {
		for must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) == old {
			if time.Now().After(deadline) {
				t.Fatal("the new token was not served within 40 s")
			}
			waitUntil(time.Now().Add(100 * time.Millisecond))
		}
	}
	w.count(t, 2, "in the end")
}

// The same for a user's token.
func TestDueUserTokenIsServedWhileOneInstanceRefreshes(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	u := w.addUsers(1)[0]
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn, b.RotateRefreshTokens = time.Second, true })
	quick := func(o *msalredis.Options) { o.LocalTTL = 500 * time.Millisecond }
	a, b := w.instance(quick), w.instance(quick)
	apps := []confidential.Client{a.app(), b.app()}
	old := a.signIn(apps[0], u).AccessToken
	must(t)(silent(ctx, apps[1], u.HomeAccountID()))
	w.count(t, 1, "before it is due")
	waitUntil(time.Now().Add(1500 * time.Millisecond))

	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = 0 })
	d := w.door()
	if token := oneToken(t, collect(t, 64, start(64, func(i int) (confidential.AuthResult, error) {
		return silent(ctx, apps[i%2], u.HomeAccountID())
	}))); token != old {
		t.Error("another token than the old one was served before there was one")
	}
	d.wait(t)
	w.count(t, 2, "while it is being refreshed")
	d.open()
	for _, app := range apps {
		eventually(t, "the new token", func() bool { return must(t)(silent(ctx, app, u.HomeAccountID())) != old })
	}
	w.count(t, 2, "in the end")
	w.noRefusals(t)
}

// Where the server sends no refresh_in the gate makes a token due at RefreshAt of its usable life, so that nobody
// waits for a refresh of a token that is in use; answers to sign-ins included.
func TestTokensWithoutRefreshInAreRefreshedAhead(t *testing.T) {
	for _, kind := range []string{"app", "user"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			ctx := context.Background()
			u := w.addUsers(1)[0]
			w.lasting(20 * time.Second)
			i := w.instance(func(o *msalredis.Options) { o.RefreshAt = 0.1 })
			app := i.app()
			acquire := func() (confidential.AuthResult, error) { return silent(ctx, app, u.HomeAccountID()) }
			if kind == "user" {
				i.signIn(app, u)
			} else {
				acquire = func() (confidential.AuthResult, error) { return app.AcquireTokenByCredential(ctx, []string{graph}) }
			}
			old := must(t)(acquire())
			w.count(t, 1, "before it is due")
			waitUntil(time.Now().Add(2500 * time.Millisecond))
			d := w.door()
			if must(t)(acquire()) != old {
				t.Error("not the old token")
			}
			d.wait(t)
			d.open()
			w.count(t, 2, "after it was due")
		})
	}
}

// user_fic, for which MSAL asks its cache nothing: two instances share.
func TestUserFICIsShared(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	users := w.addUsers(2)
	credential, err := w.entra.FederatedCredential(clientID)
	if err != nil {
		t.Fatal(err)
	}
	acquire := func(app confidential.Client, u entratest.User) string {
		t.Helper()
		return must(t)(app.AcquireTokenByUserFederatedIdentityCredential(ctx, []string{userScope}, credential, confidential.WithUserFICUsername(u.Username)))
	}
	a, b := w.instance().app(), w.instance().app()
	if acquire(a, users[0]) != acquire(b, users[0]) {
		t.Error("two instances have different tokens")
	}
	w.count(t, 1, "two instances")
	if acquire(a, users[0]) == acquire(b, users[1]) {
		t.Error("two users have the same token")
	}
	w.count(t, 2, "another user")
	// What it brought is found silently.
	must(t)(silent(ctx, w.instance().app(), users[1].HomeAccountID()))
	w.count(t, 2, "silently")
}

// After their expiry on-behalf-of tokens go on with the refresh token, in every instance: one that has slept through
// a refresh does not fail either, though its refresh token has been redeemed.
func TestOnBehalfOfGoesOnAfterExpiryOnEveryInstance(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	assertion := w.assertion(t, w.addUsers(1)[0])
	const usable = 2 * time.Second
	w.lasting(usable)
	ps := w.processes(3)
	o := order{Op: "obo", Assertion: assertion, Scopes: []string{userScope}, N: 4}
	for _, out := range all(ps, o) {
		for _, e := range out.Errors {
			t.Fatal(e)
		}
	}
	for round := range 2 {
		waitUntil(time.Now().Add(usable + time.Second))
		w.entra.ResetRequests()
		for _, out := range all(ps[:2], o) {
			for _, e := range out.Errors {
				t.Errorf("round %d: %s", round, e)
			}
		}
	}
	waitUntil(time.Now().Add(usable + time.Second))
	w.entra.ResetRequests()
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Hour })
	same(t, all(ps[2:], o)) // its MSAL has the first refresh token
	same(t, all(ps, o))
	w.noRefusals(t)
	w.count(t, 1, "after a refresh that one slept through")
}

// A refresh token of on-behalf-of that is refused is not the end: MSAL goes on with the assertion, and the refusal of
// the one is no answer to the other.
func TestOnBehalfOfGoesOnWhenItsRefreshTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	assertion := w.assertion(t, w.addUsers(1)[0])
	const usable = 2 * time.Second
	w.lasting(usable)
	apps := []confidential.Client{w.instance().app(), w.instance().app()}
	acquire := func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope})
	}
	must(t)(acquire(0))
	must(t)(acquire(1))
	w.expire(usable)
	w.entra.AddFault(entratest.Fault{Match: entratest.ByGrant(refreshGrant), Status: http.StatusBadRequest, Body: entratest.ErrorBody("invalid_grant", 700082, "The refresh token has expired due to inactivity.")})
	oneToken(t, collect(t, 16, start(16, acquire)))
	w.count(t, 1, "the assertion again", entratest.ByGrant(oboGrant))
}

// Key-bound requests, and client credentials proven by TLS, pass untouched: each reaches the server as it was sent.
func TestRequestsThatCannotBeSharedPassUntouched(t *testing.T) {
	type sent struct {
		body   string
		header http.Header
	}
	var mu sync.Mutex
	var seen []sent
	const reply = `{ "token_type":"pop", "expires_in":3600,  "access_token":"bound-to-a-key" }`
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, sent{string(body), r.Header.Clone()})
		rw.Header().Set("X-Own", fmt.Sprint(len(seen)))
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, reply)
	}))
	t.Cleanup(server.Close)
	w := newWorld(t)
	i := w.instance()
	client := &http.Client{Transport: i.tokens.Transport(server.Client().Transport)}
	for name, form := range map[string]url.Values{
		"req_cnf":         {"grant_type": {appGrant}, "client_id": {clientID}, "client_secret": {"s"}, "scope": {graph}, "req_cnf": {"eyJraWQiOiJ4In0"}},
		"token_type pop":  {"grant_type": {appGrant}, "client_id": {clientID}, "client_secret": {"s"}, "scope": {graph}, "token_type": {"pop"}},
		"refresh with it": {"grant_type": {refreshGrant}, "client_id": {clientID}, "refresh_token": {"r"}, "scope": {graph}, "token_type": {"pop"}},
		"TLS certificate": {"grant_type": {appGrant}, "client_id": {clientID}, "scope": {graph}},
		"another bearer":  {"grant_type": {oboGrant}, "client_id": {clientID}, "assertion": {"a"}, "scope": {graph}},
		"no grant":        {"client_id": {clientID}},
	} {
		t.Run(name, func(t *testing.T) {
			seen = nil
			for n := 1; n <= 2; n++ {
				req, err := http.NewRequest(http.MethodPost, server.URL+"/"+tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("Client-Request-Id", fmt.Sprint(n))
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != reply || resp.Header.Get("X-Own") != fmt.Sprint(n) {
					t.Errorf("answer %d: %v %s %v", n, err, body, resp.Header)
				}
				if len(seen) != n || seen[n-1].body != form.Encode() || seen[n-1].header.Get("Client-Request-Id") != fmt.Sprint(n) {
					t.Fatalf("request %d has not reached the server as it was sent: %v", n, seen)
				}
			}
		})
	}
	for _, key := range w.keysOf() {
		if strings.Contains(key, ":response") {
			t.Errorf("%s: an answer that is nobody else's was stored", key)
		}
	}
}
