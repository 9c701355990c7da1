package msalredis_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
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

// One client, 50 tenants, 32 goroutines, all cached: no token request.
func TestFiftyTenantsOnOneClientNoTokenRequest(t *testing.T) {
	w := newWorld(t)
	app := w.instance().app()
	ctx := context.Background()
	name := func(n int) string { return fmt.Sprintf("%08d-1111-4222-8333-00000000000b", n) }
	for n := range 50 {
		if _, err := app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(name(n))); err != nil {
			t.Fatal(err)
		}
	}
	w.count(t, 50, "cold")
	want := map[string]string{}
	var mu sync.Mutex
	errs := parallel(32, func(g int) error {
		for n := range 200 {
			tn := name((n*7 + g*13) % 50)
			r, err := app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(tn))
			if err != nil {
				return err
			}
			mu.Lock()
			if want[tn] == "" {
				want[tn] = r.AccessToken
			}
			if want[tn] != r.AccessToken {
				err = errors.New("a tenant got two tokens")
			}
			mu.Unlock()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if len(errs) > 0 {
		t.Error(errs[0])
	}
	w.count(t, 50, "warm")
}

// The same on an instance that finds them in Redis: the first touch of each is no token request either.
func TestFiftyTenantsColdReadNoTokenRequest(t *testing.T) {
	w := newWorld(t)
	first := w.instance().app()
	ctx := context.Background()
	name := func(n int) string { return fmt.Sprintf("%08d-1111-4222-8333-00000000000c", n) }
	for n := range 50 {
		if _, err := first.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(name(n))); err != nil {
			t.Fatal(err)
		}
	}
	app := w.instance().app()
	errs := parallel(32, func(g int) error {
		for n := range 50 {
			if _, err := app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(name((n+g)%50))); err != nil {
				return err
			}
		}
		return nil
	})
	if len(errs) > 0 {
		t.Error(errs[0])
	}
	w.count(t, 50, "cold read")
}

// One client, 50 users, 32 goroutines: no error, and each gets their own.
func TestFiftyUsersOnOneClientNoError(t *testing.T) {
	w := newWorld(t)
	users := w.addUsers(50)
	i := w.instance()
	app := i.app()
	ctx := context.Background()
	own := map[string]string{}
	for _, u := range users {
		own[u.HomeAccountID()] = i.signIn(app, u).AccessToken
	}
	for name, app := range map[string]confidential.Client{"the client of the sign-ins": app, "a new instance": w.instance().app()} {
		errs := parallel(32, func(g int) error {
			for n := range 100 {
				u := users[(n*7+g*13)%50]
				r, err := silent(ctx, app, u.HomeAccountID())
				if err != nil {
					return err
				}
				if r.AccessToken != own[u.HomeAccountID()] {
					return errors.New("another token than the user's")
				}
			}
			return nil
		})
		if len(errs) > 0 {
			t.Errorf("%s: %d goroutines failed: %v", name, len(errs), errs[0])
		}
	}
	w.count(t, 50, "sign-ins")
}

// Cache.RemoveAccount signs out everywhere: silent calls fail on every instance within LocalTTL, no key of the user is
// left but a tombstone without user data, on-behalf-of answers included; other users keep theirs.
func TestRemoveAccountSignsOutEverywhere(t *testing.T) {
	signOut(t, func(i *instance, app confidential.Client, u entratest.User) error {
		return i.tokens.RemoveAccount(context.Background(), u.HomeAccountID())
	})
}

// MSAL's own RemoveAccount, in the documented order, does the same.
func TestMSALRemoveAccountSignsOutEverywhere(t *testing.T) {
	signOut(t, func(i *instance, app confidential.Client, u entratest.User) error {
		account, err := app.Account(context.Background(), u.HomeAccountID())
		if err != nil {
			return err
		}
		return app.RemoveAccount(context.Background(), account)
	})
}

func signOut(t *testing.T, out func(*instance, confidential.Client, entratest.User) error) {
	w := newWorld(t)
	users := w.addUsers(2)
	gone, stays := users[0], users[1]
	a, b := w.instance(), w.instance()
	appA, appB := a.app(), b.app()
	ctx := context.Background()
	a.signIn(appA, gone)
	before := w.keysOf()
	assertion, err := w.entra.UserToken(clientID, gone.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := appA.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope}); err != nil {
		t.Fatal(err)
	}
	ofGone := w.keysOf()
	if len(ofGone) <= len(before) {
		t.Fatal("the on-behalf-of answer is not in Redis: this test shows nothing")
	}
	a.signIn(appA, stays)
	if _, err := silent(ctx, appB, gone.HomeAccountID()); err != nil {
		t.Fatal(err)
	}

	if err := out(a, appA, gone); err != nil {
		t.Fatal(err)
	}
	if _, err := silent(ctx, appA, gone.HomeAccountID()); err == nil {
		t.Error("the instance of the sign-out still has a token")
	}
	eventually(t, "the other instance signs out", func() bool {
		_, err := silent(ctx, appB, gone.HomeAccountID())
		return err != nil
	})
	left := map[string]bool{}
	for _, k := range w.keysOf() {
		left[k] = true
	}
	for _, k := range ofGone {
		if left[k] && !strings.HasSuffix(k, ":tombstone") && !strings.HasSuffix(k, "{accounts}:list") {
			t.Errorf("left of the user: %s", k[strings.LastIndex(k, "}"):])
		}
	}
	rdb := w.redis.admin
	for k := range left {
		if strings.HasSuffix(k, ":tombstone") {
			if v := rdb.Get(ctx, k).Val(); strings.Contains(v, gone.ObjectID) || strings.Contains(v, gone.Username) {
				t.Error("a tombstone holds user data")
			}
			if rdb.PTTL(ctx, k).Val() <= 0 {
				t.Error("a tombstone never expires")
			}
		}
	}
	for name, app := range map[string]confidential.Client{"first": appA, "second": appB} {
		if _, err := silent(ctx, app, stays.HomeAccountID()); err != nil {
			t.Errorf("%s instance: another user lost their tokens: %v", name, err)
		}
	}
	// A sign-in right after it is kept.
	again := b.signIn(appB, gone)
	for name, app := range map[string]confidential.Client{"first": appA, "second": appB, "third": w.instance().app()} {
		r, err := silent(ctx, app, gone.HomeAccountID())
		if err != nil {
			t.Errorf("%s instance: a sign-in after the sign-out is lost: %v", name, err)
		} else if r.AccessToken != again.AccessToken {
			t.Errorf("%s instance has another token than the sign-in's", name)
		}
	}
}

// A sign-out reaches other instances by a message, long before LocalTTL: also one that has only ever read from Redis,
// and whose gate has seen no token request.
func TestSignOutReachesOthersAtOnce(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	u := w.addUsers(1)[0]
	a, b := w.instance(), w.instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
	appB := b.app()
	a.signIn(a.app(), u)
	must(t)(silent(ctx, appB, u.HomeAccountID()))
	w.listening(t, 2)
	if err := a.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other instance signs out", func() bool {
		_, err := silent(ctx, appB, u.HomeAccountID())
		return err != nil
	})
}

// A process hears of leases that end and of removals on one connection: one with the gate at work and waiting, one at rest.
func TestOneSubscriptionConnectionPerProcess(t *testing.T) {
	w := breakable(t)
	ctx := context.Background()
	connections := func() (all []string) {
		var mu sync.Mutex
		w.redis.each(func(s *redistest.Server) {
			text, _ := s.Do("CLIENT", "LIST", "TYPE", "PUBSUB").(string)
			for line := range strings.Lines(text) {
				if !strings.Contains(line, "name=sentinel") {
					mu.Lock()
					all = append(all, line)
					mu.Unlock()
				}
			}
		})
		return all
	}
	asks, waits := w.instance(), w.instance()
	for _, i := range []*instance{asks, waits} {
		must(t)(i.app().AcquireTokenByCredential(ctx, []string{graph}))
	}
	w.listening(t, 2)
	door := w.door()
	apps := []confidential.Client{asks.app(), waits.app()}
	calls := start(2, func(i int) (confidential.AuthResult, error) {
		return apps[i].AcquireTokenByCredential(ctx, []string{dynamics})
	})
	door.wait(t)
	w.leaseWaiters(t, 1)
	if all := connections(); len(all) != 2 {
		t.Errorf("2 processes have %d subscription connections:\n%s", len(all), strings.Join(all, ""))
	}
	door.open()
	oneToken(t, collect(t, 2, calls))
}

// MSAL's RemoveAccount of an account that the client has not loaded removes nothing in MSAL; the error names what does.
func TestMSALRemoveAccountNotLoadedNamesTheWayOut(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	first := w.instance()
	app := first.app()
	first.signIn(app, u)
	account, err := app.Account(context.Background(), u.HomeAccountID())
	if err != nil {
		t.Fatal(err)
	}
	err = w.instance().app().RemoveAccount(context.Background(), account)
	canary.sawError(err)
	if err == nil || !strings.Contains(err.Error(), "Cache.RemoveAccount") {
		t.Errorf("error %v does not name Cache.RemoveAccount", err)
	}
}

// A refresh that was under way while the account signed out elsewhere does not bring its tokens back.
func TestRefreshThatRacesSignOutBringsNothingBack(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	a, b := w.instance(), w.instance()
	appA := a.app()
	a.signIn(appA, u)
	arrived, release := make(chan struct{}), make(chan struct{})
	remove := w.entra.OnTokenRequest(func(r entratest.Request) {
		if r.Grant == "refresh_token" {
			close(arrived)
			<-release
		}
	})
	defer remove()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = silent(context.Background(), appA, u.HomeAccountID(), mailScope)
	}()
	<-arrived
	if err := b.tokens.RemoveAccount(context.Background(), u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	close(release)
	<-done
	for name, app := range map[string]confidential.Client{"refreshing": appA, "new": w.instance().app()} {
		eventually(t, name+" instance is signed out", func() bool {
			_, err1 := silent(context.Background(), app, u.HomeAccountID(), mailScope)
			_, err2 := silent(context.Background(), app, u.HomeAccountID())
			return err1 != nil && err2 != nil
		})
	}
	for _, k := range w.keysOf() {
		if strings.HasSuffix(k, ":tokens") {
			t.Errorf("the record is back: %s", k)
		}
	}
}

// ForgetAppTokens: the next call on any instance is a token request, and then the new token is shared as ever.
func TestForgetAppTokensNextCallIsATokenRequest(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance(), w.instance()
	appA, appB := a.app(), b.app()
	ctx := context.Background()
	const other = "https://org.crm4.dynamics.com/.default"
	get := func(app confidential.Client, scope string) string {
		t.Helper()
		r, err := app.AcquireTokenByCredential(ctx, []string{scope})
		if err != nil {
			t.Fatal(err)
		}
		return r.AccessToken
	}
	old := get(appA, graph)
	get(appB, graph)
	get(appA, other)
	w.count(t, 2, "cold")
	if err := a.tokens.ForgetAppTokens(ctx, clientID, tenant, graph); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other instance asks anew", func() bool { return get(appB, graph) != old })
	if now := get(appA, graph); now == old {
		t.Error("the instance that forgot still has the old token")
	}
	w.count(t, 2, "one anew for both instances", entratest.ByScope(graph))
	get(appA, other)
	get(appB, other)
	w.count(t, 1, "another scope", entratest.ByScope(other))
	if err := a.tokens.ForgetAppTokens(ctx, clientID, tenant); err != nil {
		t.Fatal(err)
	}
	get(appA, other)
	w.count(t, 2, "all scopes forgotten", entratest.ByScope(other))
}

// A public client finds its tokens silently from another process, and Accounts lists them.
func TestPublicClientFindsItsTokensElsewhere(t *testing.T) {
	w := newWorld(t)
	users := w.addUsers(2)
	ctx := context.Background()
	first := w.instance()
	app := first.public()

	link, err := app.AuthCodeURL(ctx, publicID, redirectURI, []string{userScope})
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.entra.AuthorizeCode(link, users[0].Username)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope}); err != nil {
		t.Fatal(err)
	}
	device, err := app.AcquireTokenByDeviceCode(ctx, []string{userScope})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.entra.ApproveDevice(device.Result.UserCode, users[1].Username); err != nil {
		t.Fatal(err)
	}
	if _, err := device.AuthenticationResult(ctx); err != nil {
		t.Fatal(err)
	}
	first.close()
	sent := w.entra.Count()

	second := w.instance().public()
	accounts, err := second.Accounts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(accounts) != 2 {
		t.Fatalf("%d accounts, want 2", len(accounts))
	}
	for _, account := range accounts {
		if _, err := second.AcquireTokenSilent(ctx, []string{userScope}, public.WithSilentAccount(account)); err != nil {
			t.Errorf("silent: %v", err)
		}
	}
	w.count(t, sent, "silent calls")
	// Another scope costs a refresh, once for both instances.
	third := w.instance().public()
	for _, c := range []public.Client{second, third} {
		if _, err := c.AcquireTokenSilent(ctx, []string{mailScope}, public.WithSilentAccount(accounts[0])); err != nil {
			t.Errorf("silent: %v", err)
		}
	}
	w.count(t, sent+1, "another scope")
	// Sign-out by the documented order for public clients.
	if err := second.RemoveAccount(ctx, accounts[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the account is gone from the list", func() bool {
		left, err := third.Accounts(ctx)
		return err == nil && len(left) == 1 && left[0].HomeAccountID == accounts[1].HomeAccountID
	})
	if _, err := third.AcquireTokenSilent(ctx, []string{userScope}, public.WithSilentAccount(accounts[0])); err == nil {
		t.Error("a signed-out account still has a token")
	}
}

// A user's refresh that is answered without id_token and client_info is stored under no other name: MSAL would make it
// the app's token for the whole fleet.
func TestRefreshWithoutClientInfoStaysTheUsers(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	i := w.instance()
	app := i.app()
	i.signIn(app, u)
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.OmitIDToken = true })
	ctx := context.Background()
	r, err := silent(ctx, app, u.HomeAccountID(), mailScope)
	if err != nil {
		t.Fatal(err)
	}
	for name, app := range map[string]confidential.Client{"same": app, "other": w.instance().app()} {
		a, err := app.AcquireTokenByCredential(ctx, []string{mailScope})
		if err == nil && a.AccessToken == r.AccessToken {
			t.Errorf("%s instance: the app got the user's token", name)
		}
		again, err := silent(ctx, app, u.HomeAccountID(), mailScope)
		if err != nil || again.AccessToken != r.AccessToken {
			t.Errorf("%s instance: the user's token is not there: %v", name, err)
		}
	}
}

// Managers that the application has dropped are not kept alive by the Cache.
func TestDroppedClientsAreNotKeptAlive(t *testing.T) {
	w := newWorld(t)
	i := w.instance()
	ctx := context.Background()
	var m0, m1 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	for range 300 {
		if _, err := i.app(confidential.WithInstanceDiscovery(false)).AcquireTokenByCredential(ctx, []string{graph}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "dropped clients are collected", func() bool {
		runtime.GC()
		runtime.ReadMemStats(&m1)
		return int64(m1.HeapAlloc)-int64(m0.HeapAlloc) < 300*8<<10
	})
	w.count(t, 1, "all clients share one token")
}
