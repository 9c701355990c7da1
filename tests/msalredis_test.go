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
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A second process gets an app's token without any token request.
func TestSecondProcessGetsAppTokenWithoutTokenRequest(t *testing.T) {
	w := harness.NewWorld(t)
	ps := w.Processes(2)
	first := ps[0].Do(harness.Order{Op: "app", Scopes: []string{harness.GraphScope}})
	w.Count(t, 1, "first process")
	ps[0].End()
	second := ps[1].Do(harness.Order{Op: "app", Scopes: []string{harness.GraphScope}})
	harness.SameToken(t, []harness.Outcome{first, second})
	w.Count(t, 1, "second process")
}

// So does a user's AcquireTokenSilent, also after the process of the sign-in is gone.
func TestSecondProcessGetsUserTokenWithoutTokenRequest(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	first := w.Instance()
	result := first.SignIn(first.App(), u)
	first.Close()
	out := w.Processes(1)[0].Do(harness.Order{Op: "silent", Account: u.HomeAccountID(),
		Scopes: []string{harness.UserScope}})
	harness.SameToken(t, []harness.Outcome{{Tokens: []string{harness.HashOf(result.AccessToken)}}, out})
	w.Count(t, 1, "sign-in and silent call")
}

// stampeding is how many processes come at once where the grant is what is tested: one sends the request, two wait.
// That more of them make no difference, 8 show for app tokens.
const stampeding = 3

// 8 processes x 32 goroutines, cold: exactly one token request per distinct tenant and scope.
func TestStampedeColdAppTokensOneRequestEach(t *testing.T) {
	w := harness.NewWorld(t)
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 300 * time.Millisecond })
	ps := w.Processes(8)
	other := "0d2b5a00-1111-4222-8333-000000000009"
	for _, tn := range []string{harness.Tenant, other} {
		for _, scope := range []string{harness.GraphScope, "https://org.crm4.dynamics.com/.default"} {
			harness.SameToken(t, harness.DoAll(ps, harness.Order{Op: "app", Tenant: tn, Scopes: []string{scope}, N: 32}))
			w.Count(t, 1, "stampede", entratest.ByTenant(tn), entratest.ByScope(scope))
		}
	}
}

// The same for refresh_token grants, where a second redemption is an error, from fewer processes.
func TestStampedeRefreshTokenOneRedemption(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RotateRefreshTokens = true })
	i := w.Instance()
	i.SignIn(i.App(), u)
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 300 * time.Millisecond })
	ps := w.Processes(stampeding)
	harness.SameToken(t, harness.DoAll(ps,
		harness.Order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{harness.MailScope}, N: 32}))
	w.Count(t, 1, "refresh", entratest.ByGrant("refresh_token"))
}

// And for on-behalf-of with one assertion.
func TestStampedeOnBehalfOfOneRequest(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	assertion, err := w.Entra.UserToken(harness.ClientID, u.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 300 * time.Millisecond })
	ps := w.Processes(stampeding)
	harness.SameToken(t, harness.DoAll(ps,
		harness.Order{Op: "obo", Assertion: assertion, Scopes: []string{harness.UserScope}, N: 32}))
	w.Count(t, 1, "on-behalf-of")
}

// One client, 50 tenants, 32 goroutines, all cached: no token request.
func TestFiftyTenantsOnOneClientNoTokenRequest(t *testing.T) {
	w := harness.NewWorld(t)
	app := w.Instance().App()
	ctx := context.Background()
	name := func(n int) string { return fmt.Sprintf("%08d-1111-4222-8333-00000000000b", n) }
	for n := range 50 {
		if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope},
			confidential.WithTenantID(name(n))); err != nil {
			t.Fatal(err)
		}
	}
	w.Count(t, 50, "cold")
	want := map[string]string{}
	var mu sync.Mutex
	errs := harness.Parallel(32, func(g int) error {
		for n := range 50 { // each tenant once: 7 and 50 have no common factor
			tn := name((n*7 + g*13) % 50)
			r, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, confidential.WithTenantID(tn))
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
	w.Count(t, 50, "warm")
}

// The same on an instance that finds them in Redis: the first touch of each is no token request either.
func TestFiftyTenantsColdReadNoTokenRequest(t *testing.T) {
	w := harness.NewWorld(t)
	first := w.Instance().App()
	ctx := context.Background()
	name := func(n int) string { return fmt.Sprintf("%08d-1111-4222-8333-00000000000c", n) }
	for n := range 50 {
		if _, err := first.AcquireTokenByCredential(ctx, []string{harness.GraphScope},
			confidential.WithTenantID(name(n))); err != nil {
			t.Fatal(err)
		}
	}
	app := w.Instance().App()
	errs := harness.Parallel(32, func(g int) error {
		for n := range 50 {
			if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope},
				confidential.WithTenantID(name((n+g)%50))); err != nil {
				return err
			}
		}
		return nil
	})
	if len(errs) > 0 {
		t.Error(errs[0])
	}
	w.Count(t, 50, "cold read")
}

// One client, 50 users, 32 goroutines: no error, and each gets their own.
func TestFiftyUsersOnOneClientNoError(t *testing.T) {
	w := harness.NewWorld(t)
	users := w.AddUsers(50)
	i := w.Instance()
	app := i.App()
	ctx := context.Background()
	own := map[string]string{}
	for _, u := range users {
		own[u.HomeAccountID()] = i.SignIn(app, u).AccessToken
	}
	for name, app := range map[string]confidential.Client{"the client of the sign-ins": app,
		"a new instance": w.Instance().App()} {
		errs := harness.Parallel(32, func(g int) error {
			for n := range 50 { // each user once
				u := users[(n*7+g*13)%50]
				r, err := harness.Silent(ctx, app, u.HomeAccountID())
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
	w.Count(t, 50, "sign-ins")
}

// Cache.RemoveAccount signs out everywhere: silent calls fail on every instance within LocalTTL, no key of the user is
// left but a tombstone without user data, on-behalf-of answers included; other users keep theirs.
func TestRemoveAccountSignsOutEverywhere(t *testing.T) {
	signOut(t, func(i *harness.Instance, app confidential.Client, u entratest.User) error {
		return i.Tokens.RemoveAccount(context.Background(), u.HomeAccountID())
	})
}

// MSAL's own RemoveAccount, in the documented order, does the same.
func TestMSALRemoveAccountSignsOutEverywhere(t *testing.T) {
	signOut(t, func(i *harness.Instance, app confidential.Client, u entratest.User) error {
		account, err := app.Account(context.Background(), u.HomeAccountID())
		if err != nil {
			return err
		}
		return app.RemoveAccount(context.Background(), account)
	})
}

func signOut(t *testing.T, out func(*harness.Instance, confidential.Client, entratest.User) error) {
	w := harness.NewWorld(t)
	users := w.AddUsers(2)
	gone, stays := users[0], users[1]
	a, b := w.Instance(), w.Instance()
	appA, appB := a.App(), b.App()
	ctx := context.Background()
	a.SignIn(appA, gone)
	before := w.KeysOf()
	assertion, err := w.Entra.UserToken(harness.ClientID, gone.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := appA.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope}); err != nil {
		t.Fatal(err)
	}
	ofGone := w.KeysOf()
	if len(ofGone) <= len(before) {
		t.Fatal("the on-behalf-of answer is not in Redis: this test shows nothing")
	}
	a.SignIn(appA, stays)
	if _, err := harness.Silent(ctx, appB, gone.HomeAccountID()); err != nil {
		t.Fatal(err)
	}

	if err := out(a, appA, gone); err != nil {
		t.Fatal(err)
	}
	if _, err := harness.Silent(ctx, appA, gone.HomeAccountID()); err == nil {
		t.Error("the instance of the sign-out still has a token")
	}
	harness.Eventually(t, "the other instance signs out", func() bool {
		_, err := harness.Silent(ctx, appB, gone.HomeAccountID())
		return err != nil
	})
	left := map[string]bool{}
	for _, k := range w.KeysOf() {
		left[k] = true
	}
	for _, k := range ofGone {
		if left[k] && !strings.HasSuffix(k, ":tombstone") && !strings.HasSuffix(k, "{accounts}:list") {
			t.Errorf("left of the user: %s", k[strings.LastIndex(k, "}"):])
		}
	}
	rdb := w.Redis.Admin
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
		if _, err := harness.Silent(ctx, app, stays.HomeAccountID()); err != nil {
			t.Errorf("%s instance: another user lost their tokens: %v", name, err)
		}
	}
	// A sign-in right after it is kept.
	again := b.SignIn(appB, gone)
	for name, app := range map[string]confidential.Client{"first": appA, "second": appB, "third": w.Instance().App()} {
		r, err := harness.Silent(ctx, app, gone.HomeAccountID())
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
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	a, b := w.Instance(), w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
	appB := b.App()
	a.SignIn(a.App(), u)
	harness.Must(t)(harness.Silent(ctx, appB, u.HomeAccountID()))
	w.Listening(t, 2)
	if err := a.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the other instance signs out", func() bool {
		_, err := harness.Silent(ctx, appB, u.HomeAccountID())
		return err != nil
	})
}

// A process hears of leases that end and of removals on one connection: one with the gate at work and waiting, one at
// rest.
func TestOneSubscriptionConnectionPerProcess(t *testing.T) {
	w := harness.Breakable(t)
	ctx := context.Background()
	connections := func() (all []string) {
		var mu sync.Mutex
		w.Redis.Each(func(s *redistest.Server) {
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
	asks, waits := w.Instance(), w.Instance()
	for _, i := range []*harness.Instance{asks, waits} {
		harness.Must(t)(i.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	}
	w.Listening(t, 2)
	door := w.Door()
	apps := []confidential.Client{asks.App(), waits.App()}
	calls := harness.StartCalls(2, func(i int) (confidential.AuthResult, error) {
		return apps[i].AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})
	})
	door.Wait(t)
	w.LeaseWaiters(t, 1)
	if all := connections(); len(all) != 2 {
		t.Errorf("2 processes have %d subscription connections:\n%s", len(all), strings.Join(all, ""))
	}
	door.Open()
	harness.OneToken(t, harness.CollectCalls(t, 2, calls))
}

// MSAL's RemoveAccount of an account that the client has not loaded removes nothing in MSAL; the error names what does.
func TestMSALRemoveAccountNotLoadedNamesTheWayOut(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	first := w.Instance()
	app := first.App()
	first.SignIn(app, u)
	account, err := app.Account(context.Background(), u.HomeAccountID())
	if err != nil {
		t.Fatal(err)
	}
	err = w.Instance().App().RemoveAccount(context.Background(), account)
	harness.Canary.SawError(err)
	if err == nil || !strings.Contains(err.Error(), "Cache.RemoveAccount") {
		t.Errorf("error %v does not name Cache.RemoveAccount", err)
	}
}

// A refresh that was under way while the account signed out elsewhere does not bring its tokens back.
func TestRefreshThatRacesSignOutBringsNothingBack(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	a, b := w.Instance(), w.Instance()
	appA := a.App()
	a.SignIn(appA, u)
	arrived, release := make(chan struct{}), make(chan struct{})
	remove := w.Entra.OnTokenRequest(func(r entratest.Request) {
		if r.Grant == "refresh_token" {
			close(arrived)
			<-release
		}
	})
	defer remove()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = harness.Silent(context.Background(), appA, u.HomeAccountID(), harness.MailScope)
	}()
	<-arrived
	if err := b.Tokens.RemoveAccount(context.Background(), u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	close(release)
	<-done
	for name, app := range map[string]confidential.Client{"refreshing": appA, "new": w.Instance().App()} {
		harness.Eventually(t, name+" instance is signed out", func() bool {
			_, err1 := harness.Silent(context.Background(), app, u.HomeAccountID(), harness.MailScope)
			_, err2 := harness.Silent(context.Background(), app, u.HomeAccountID())
			return err1 != nil && err2 != nil
		})
	}
	for _, k := range w.KeysOf() {
		if strings.HasSuffix(k, ":tokens") {
			t.Errorf("the record is back: %s", k)
		}
	}
}

// ForgetAppTokens: the next call on any instance is a token request, and then the new token is shared as ever.
func TestForgetAppTokensNextCallIsATokenRequest(t *testing.T) {
	w := harness.NewWorld(t)
	a, b := w.Instance(), w.Instance()
	appA, appB := a.App(), b.App()
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
	old := get(appA, harness.GraphScope)
	get(appB, harness.GraphScope)
	get(appA, other)
	w.Count(t, 2, "cold")
	if err := a.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, harness.GraphScope); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the other instance asks anew", func() bool { return get(appB, harness.GraphScope) != old })
	if now := get(appA, harness.GraphScope); now == old {
		t.Error("the instance that forgot still has the old token")
	}
	w.Count(t, 2, "one anew for both instances", entratest.ByScope(harness.GraphScope))
	get(appA, other)
	get(appB, other)
	w.Count(t, 1, "another scope", entratest.ByScope(other))
	if err := a.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant); err != nil {
		t.Fatal(err)
	}
	get(appA, other)
	w.Count(t, 2, "all scopes forgotten", entratest.ByScope(other))
}

// A public client finds its tokens silently from another process, and Accounts lists them.
func TestPublicClientFindsItsTokensElsewhere(t *testing.T) {
	w := harness.NewWorld(t)
	users := w.AddUsers(2)
	ctx := context.Background()
	first := w.Instance()
	app := first.Public()

	link, err := app.AuthCodeURL(ctx, harness.PublicID, harness.RedirectURI, []string{harness.UserScope})
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.Entra.AuthorizeCode(link, users[0].Username)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.AcquireTokenByAuthCode(ctx, code, harness.RedirectURI, []string{harness.UserScope}); err != nil {
		t.Fatal(err)
	}
	device, err := app.AcquireTokenByDeviceCode(ctx, []string{harness.UserScope})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Entra.ApproveDevice(device.Result.UserCode, users[1].Username); err != nil {
		t.Fatal(err)
	}
	if _, err := device.AuthenticationResult(ctx); err != nil {
		t.Fatal(err)
	}
	first.Close()
	sent := w.Entra.Count()

	second := w.Instance().Public()
	accounts, err := second.Accounts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(accounts) != 2 {
		t.Fatalf("%d accounts, want 2", len(accounts))
	}
	for _, account := range accounts {
		if _, err := second.AcquireTokenSilent(ctx, []string{harness.UserScope},
			public.WithSilentAccount(account)); err != nil {
			t.Errorf("silent: %v", err)
		}
	}
	w.Count(t, sent, "silent calls")
	// Another scope costs a refresh, once for both instances.
	third := w.Instance().Public()
	for _, c := range []public.Client{second, third} {
		if _, err := c.AcquireTokenSilent(ctx, []string{harness.MailScope},
			public.WithSilentAccount(accounts[0])); err != nil {
			t.Errorf("silent: %v", err)
		}
	}
	w.Count(t, sent+1, "another scope")
	// Sign-out by the documented order for public clients.
	if err := second.RemoveAccount(ctx, accounts[0]); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the account is gone from the list", func() bool {
		left, err := third.Accounts(ctx)
		return err == nil && len(left) == 1 && left[0].HomeAccountID == accounts[1].HomeAccountID
	})
	if _, err := third.AcquireTokenSilent(ctx, []string{harness.UserScope},
		public.WithSilentAccount(accounts[0])); err == nil {
		t.Error("a signed-out account still has a token")
	}
}

// A user's refresh that is answered without id_token and client_info is stored under no other name: MSAL would make it
// the app's token for the whole fleet.
func TestRefreshWithoutClientInfoStaysTheUsers(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	i := w.Instance()
	app := i.App()
	i.SignIn(app, u)
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.OmitIDToken = true })
	ctx := context.Background()
	r, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)
	if err != nil {
		t.Fatal(err)
	}
	for name, app := range map[string]confidential.Client{"same": app, "other": w.Instance().App()} {
		a, err := app.AcquireTokenByCredential(ctx, []string{harness.MailScope})
		if err == nil && a.AccessToken == r.AccessToken {
			t.Errorf("%s instance: the app got the user's token", name)
		}
		again, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)
		if err != nil || again.AccessToken != r.AccessToken {
			t.Errorf("%s instance: the user's token is not there: %v", name, err)
		}
	}
}

// Managers that the application has dropped are not kept alive by the Cache.
func TestDroppedClientsAreNotKeptAlive(t *testing.T) {
	w := harness.NewWorld(t)
	i := w.Instance()
	ctx := context.Background()
	var m0, m1 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	for range 300 {
		if _, err := i.App(confidential.WithInstanceDiscovery(false)).AcquireTokenByCredential(ctx,
			[]string{harness.GraphScope}); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, "dropped clients are collected", func() bool {
		runtime.GC()
		runtime.ReadMemStats(&m1)
		return int64(m1.HeapAlloc)-int64(m0.HeapAlloc) < 300*8<<10
	})
	w.Count(t, 1, "all clients share one token")
}
