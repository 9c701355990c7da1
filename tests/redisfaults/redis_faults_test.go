package redisfaults_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// Redis goes away and comes back empty. Meanwhile tokens come from memory, a new one costs one request for the whole
// process, and when Redis is back they are there for others without another request: users' too, who stay signed in.
func TestRedisGoesAwayAndComesBackEmpty(t *testing.T) {
	w := harness.Breakable(t)
	u := w.AddUsers(1)[0]
	i := w.Instance(harness.ShortOpTimeout)
	ctx := context.Background()
	app, second := i.App(), i.App()
	i.SignIn(app, u)
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
		t.Fatal(err)
	}
	w.Redis.Kill()
	sent := w.Entra.Count()
	if _, err := harness.Silent(ctx, app, u.HomeAccountID()); err != nil {
		t.Errorf("a user's token from memory: %v", err)
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
		t.Errorf("an app's token from memory: %v", err)
	}
	w.Count(t, sent, "tokens from memory")
	const other = "https://org.crm4.dynamics.com/.default"
	errs := harness.Parallel(32, func(g int) error {
		client := app
		if g%2 == 1 {
			client = second
		}
		_, err := client.AcquireTokenByCredential(ctx, []string{other})
		return err
	})
	if len(errs) > 0 {
		t.Errorf("%d of 32 failed while Redis was away: %v", len(errs), errs[0])
	}
	w.Count(t, sent+1, "a new token while Redis is away")

	w.Redis.Restart()
	harness.Eventually(t, "the tokens get there", func() bool {
		// Using a token is what makes the instance look, and write a lost user's record back.
		_, _ = harness.Silent(ctx, app, u.HomeAccountID())
		records := 0
		for _, k := range w.KeysOf() {
			if len(k) > 7 && k[len(k)-7:] == ":tokens" {
				records++
			}
		}
		return records == 2
	})
	fresh := w.Instance().App()
	if _, err := harness.Silent(ctx, fresh, u.HomeAccountID()); err != nil {
		t.Errorf("the user is signed out by a restart of Redis: %v", err)
	}
	if _, err := fresh.AcquireTokenByCredential(ctx, []string{other}); err != nil {
		t.Error(err)
	}
	w.Count(t, sent+1, "after Redis came back")
}

// A Redis that hangs costs OpTimeout once, and nothing once the breaker is open.
func TestRedisHangsNobodyWaitsOnceTheBreakerIsOpen(t *testing.T) {
	w := harness.Breakable(t)
	i := w.Instance(harness.ShortOpTimeout)
	app := i.App()
	ctx := context.Background()
	w.Redis.Freeze()
	defer w.Redis.Thaw()
	begun := time.Now()
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
		t.Fatal(err)
	}
	// Bounds that tell working from stuck: go-redis alone would wait for 5 s, three times over.
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the first call took %v", took)
	}
	begun = time.Now()
	for n := range 20 {
		scope := "https://api" + string(rune('a'+n)) + ".example.com/.default"
		if _, err := app.AcquireTokenByCredential(ctx, []string{scope}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("20 calls with the breaker open took %v", took)
	}
	w.Count(t, 21, "one request per token")
}

// A Redis that is still loading its data answers, and is away nevertheless: nobody asks it for each token.
func TestRedisThatLoadsIsAway(t *testing.T) {
	w := harness.WorldOn(t, nil)
	rdb, err := connect.Open("redis://"+nonsense(t, "-LOADING Redis is loading the dataset in memory\r\n", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	heard := harness.NewCanaries()
	o := harness.Options(w.Prefix)
	o.Logger = heard.Logger()
	i := w.InstanceOn(rdb, w.Sealer(w.Keys), o)
	t.Cleanup(func() {
		i.Close()
		rdb.Close()
	})
	app := i.App()
	for range 2 {
		harness.Must(t)(app.AcquireTokenByCredential(t.Context(), []string{harness.GraphScope}))
	}
	w.Count(t, 1, "one token")
	text := heard.Heard()
	if !strings.Contains(text, "Redis is away") {
		t.Error("the breaker is closed")
	}
	_, _ = harness.Canary.Write([]byte(text))
}

var apis = []string{harness.GraphScope, harness.DynamicsScope}

// useWithoutRedis lets 32 goroutines on two clients of an instance acquire tokens of apis while Redis takes no writes,
// and checks that each cost one request.
func useWithoutRedis(i *harness.Instance, t *testing.T) {
	t.Helper()
	before := map[string]int{}
	for _, api := range apis {
		before[api] = i.World.Entra.Count(entratest.ByScope(api))
	}
	apps := []confidential.Client{i.App(), i.App()}
	errs := harness.Parallel(32, func(g int) error {
		_, err := apps[g%2].AcquireTokenByCredential(context.Background(), []string{apis[g/2%2]})
		return err
	})
	if len(errs) > 0 {
		t.Errorf("%d of 32 failed: %v", len(errs), errs[0])
	}
	// One that comes later finds nothing in a memory of its own, nor a request to join.
	late := i.GateApp()
	for _, api := range apis {
		if _, err := late.AcquireTokenByCredential(context.Background(), []string{api}); err != nil {
			t.Errorf("a client that came later: %v", err)
		}
		i.World.Count(t, before[api]+1, "all callers for "+api, entratest.ByScope(api))
	}
}

// obeysPauses checks that an instance remembers for how long Entra ID wants no requests.
func obeysPauses(i *harness.Instance, t *testing.T) {
	t.Helper()
	const api = "https://throttled.example.com/.default"
	remove := i.World.Entra.AddFault(entratest.Fault{Match: entratest.ByScope(api),
		Status: http.StatusTooManyRequests, RetryAfter: "60"})
	defer remove()
	app := i.App()
	for range 3 {
		if _, err := app.AcquireTokenByCredential(context.Background(), []string{api}); err == nil {
			t.Error("a throttled request brought a token")
		}
	}
	i.World.Count(t, 1, "calls during the pause that Entra ID asked for", entratest.ByScope(api))
}

// sharedWithoutRequest checks that a new instance has the tokens of apis, with the accessor and with the gate alone.
func sharedWithoutRequest(w *harness.World, t *testing.T) {
	t.Helper()
	sent := w.Entra.Count()
	fresh := w.Instance()
	for name, app := range map[string]confidential.Client{
		"client": fresh.App(), "client with the gate alone": fresh.GateApp(),
	} {
		for _, api := range apis {
			if _, err := app.AcquireTokenByCredential(context.Background(), []string{api}); err != nil {
				t.Errorf("a new instance's %s: %v", name, err)
			}
		}
	}
	w.Count(t, sent, "a new instance")
}

// A service starts while Redis is not there. Its tokens cost one request each, and once Redis comes up they get there
// without another: nobody need ask for them again.
func TestRedisNotThereAtStart(t *testing.T) {
	w := harness.Breakable(t)
	w.Redis.Kill()
	i := w.Instance(harness.ShortOpTimeout)
	useWithoutRedis(i, t)
	w.Redis.Restart()
	fields := w.Fields()
	harness.Eventually(t, "the tokens get there", func() bool { return fields() == len(apis) })
	sharedWithoutRequest(w, t)
}

// A Redis that reads and refuses to write, as after a failover that its clients have not seen, or when it is full: what
// it has is served, what is new costs one request per process, and gets there once it can be written.
func TestRedisThatTakesNoWrites(t *testing.T) {
	for name, fault := range map[string]struct{ begin, end func(*harness.World) }{
		"read-only":     {func(w *harness.World) { w.Redis.ReadOnly(w.T) }, func(w *harness.World) { w.Redis.Writable() }},
		"out of memory": {func(w *harness.World) { w.Redis.FillMemory() }, func(w *harness.World) { w.Redis.MaxMemory(0) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.Breakable(t)
			u := w.AddUsers(1)[0]
			first := w.Instance(harness.ShortOpTimeout)
			first.SignIn(first.App(), u)
			fields := w.Fields()
			had, sent := fields(), w.Entra.Count()

			fault.begin(w)
			i := w.Instance(harness.ShortOpTimeout)
			if _, err := harness.Silent(context.Background(), i.App(), u.HomeAccountID()); err != nil {
				t.Errorf("a token that Redis has: %v", err)
			}
			w.Count(t, sent, "a token that Redis has")
			useWithoutRedis(i, t)
			obeysPauses(i, t)
			if got := fields(); got != had {
				t.Fatalf("Redis has %d entries, had %d: it takes writes, and this test shows nothing", got, had)
			}
			fault.end(w)
			c := &harness.Census{All: map[string]harness.Point{}}
			harness.Eventually(t, "the tokens get there", func() bool {
				return fields() == had+len(apis) && c.Of(t, i, "msalredis.pending.writes") == 0 // and the gate's answers
			})
			sharedWithoutRequest(w, t)
		})
	}
}

// link is the way from one instance to Redis, which a test can cut while others go on using theirs.
type link struct {
	conf *tls.Config

	mu    sync.Mutex
	cut   bool
	conns []*net.TCPConn
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	l.conns = append(l.conns, conn.(*net.TCPConn))
	if l.conf == nil {
		return conn, nil
	}
	conf := l.conf.Clone()
	conf.ServerName, _, _ = strings.Cut(addr, ":")
	return tls.Client(conn, conf), nil
}

// set cuts the link, or mends it. Who reads from it then finds its end, as when the other side had closed it.
func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for _, c := range l.conns {
		_ = c.CloseRead()
		_ = c.CloseWrite()
	}
	l.conns = nil
}

// linked is an instance that reaches Redis over a link of its own.
func linked(w *harness.World) (*harness.Instance, *link) {
	w.T.Helper()
	l := &link{}
	rdb := w.Client(func(o *redis.UniversalOptions) { l.conf, o.Dialer = o.TLSConfig, l.dial })
	return w.InstanceOn(rdb, w.Sealer(w.Keys), harness.Options(w.Prefix)), l
}

// What an instance could not write comes to Redis late, and never over what others wrote meanwhile: an app's token, its
// answer, a user's token and the refresh token that goes with it.
func TestPendingWritesNeverReplaceNewerTokens(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	cut, link := linked(w)
	cutApp, cutGate := cut.App(), cut.GateApp()
	other := w.Instance()
	app := other.App()
	cut.SignIn(cutApp, u)
	fields := w.Fields()
	had := fields()

	link.set(true)
	old := map[string]string{
		"app":  harness.Must(t)(cutApp.AcquireTokenByCredential(ctx, []string{harness.GraphScope})),
		"user": harness.Must(t)(harness.Silent(ctx, cutApp, u.HomeAccountID(), harness.MailScope)),
	}
	// Written with them, and new to Redis: when these are there, the others have been tried.
	harness.Must(t)(cutApp.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}))
	harness.Must(t)(harness.Silent(ctx, cutApp, u.HomeAccountID(), harness.FilesScope))
	newer := map[string]string{
		"app":  harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})),
		"user": harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)),
	}
	const late = 2
	stored := fields()
	if stored != had+2 || old["app"] == newer["app"] || old["user"] == newer["user"] {
		t.Fatalf("%d entries, had %d: nothing waits to be written, and this test shows nothing", stored, had)
	}
	sent := w.Entra.Count()

	link.set(false)
	harness.Eventually(t, "the late tokens get there", func() bool { return fields() == stored+late })
	fresh := w.Instance()
	freshApp, freshGate := fresh.App(), fresh.GateApp()
	for name, reader := range map[string]struct{ app, gate confidential.Client }{
		"a new instance":            {freshApp, freshGate},
		"the one that wrote late":   {cutApp, cutGate},
		"the one that wrote before": {app, other.GateApp()},
	} {
		// The answer is written after the entries that were waited for above, and until it is refused its writer has it.
		harness.Eventually(t, name+" has the newer answer", func() bool {
			return harness.Must(t)(reader.gate.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == newer["app"]
		})
		harness.Eventually(t, name+" has the newer tokens", func() bool {
			return harness.Must(t)(reader.app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == newer["app"] &&
				harness.Must(t)(harness.Silent(ctx, reader.app, u.HomeAccountID(), harness.MailScope)) == newer["user"]
		})
	}
	w.Count(t, sent, "reading what was written late")
	// The instance that was cut off has redeemed twice, the other once after it: the next one redeems the latter's.
	harness.Must(t)(harness.Silent(ctx, freshApp, u.HomeAccountID(), harness.CalendarScope))
	if redeemed := w.Generations(); !slices.Equal(redeemed, []int{1, 2, 1, 2}) {
		t.Errorf("generations of refresh tokens redeemed: %v; the last is not the newest's", redeemed)
	}
}

// atLease holds the lease's commands of a client until it is opened.
type atLease struct{ opened chan struct{} }

func (h atLease) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h atLease) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h atLease) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		for _, arg := range cmd.Args() {
			if key, ok := arg.(string); ok && strings.HasSuffix(key, ":lock") {
				<-h.opened
			}
		}
		return next(ctx, cmd)
	}
}

// The application's own commands share the client's pool. While Redis hangs and goroutines wait for it in the library,
// be it at their first look or at the lease, half the pool stays the application's.
func TestApplicationKeepsHalfThePoolWhileRedisHangs(t *testing.T) {
	const pool, callers = 8, 32
	for name, stage := range map[string]struct {
		waitIn      string
		waiting     int
		atTheirLook bool
	}{
		"at a look": {"redisop.(*Redis).Run(", callers, true},
		// Those that hold the library's share of the pool: others still wait for their look, if it came later.
		"at the lease": {"gate.(*leader).take(", pool / 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.Breakable(t)
			if w.Redis.Cluster {
				t.Skip("counts the connections of one pool; a client of a cluster has one for each node")
			}
			rdb := w.Client(func(o *redis.UniversalOptions) {
				o.ContextTimeoutEnabled = true // else the lease's client is a copy, without the hook
				o.PoolSize = pool
				o.PoolTimeout = time.Second // what a command gets an error after, if there is no connection left for it
				o.ReadTimeout = time.Minute // else the application's commands would give up on Redis itself
			})
			// A connection that is made later does not get through TLS's handshake with a Redis that hangs.
			fillPools(w, t, rdb, pool)
			hook := atLease{make(chan struct{})}
			rdb.AddHook(hook)
			opts := harness.Options(w.Prefix)
			opts.LockTTL = time.Minute // a fourth of it bounds the lease's operations
			i := w.InstanceOn(rdb, w.Sealer(w.Keys), opts)
			app := i.GateApp()
			ctx := context.Background()
			if stage.atTheirLook {
				w.Redis.Freeze()
			}
			open := sync.OnceFunc(func() { close(hook.opened) })
			defer open()
			defer w.Redis.Thaw()
			acquired := harness.StartCalls(callers, func(n int) (confidential.AuthResult, error) {
				return app.AcquireTokenByCredential(ctx, []string{fmt.Sprintf("https://api%d.example.com/.default", n)})
			})
			harness.InStack(t, stage.waitIn, stage.waiting)
			w.Redis.Freeze()
			open()
			harness.Eventually(t, "the library's share of the pool is in use", func() bool {
				s := rdb.PoolStats()
				return s.TotalConns-s.IdleConns >= pool/2
			})

			done := make(chan error, pool/2)
			for n := range pool / 2 {
				go func() { done <- rdb.Set(ctx, fmt.Sprintf("%s:application:%d", w.Prefix, n), 1, time.Minute).Err() }()
			}
			harness.Eventually(t, "the application's commands have connections, or an error", func() bool {
				s := rdb.PoolStats()
				return s.TotalConns-s.IdleConns == pool && s.PendingRequests == 0 || len(done) == cap(done)
			})
			w.Redis.Thaw()
			for range pool / 2 {
				if err := <-done; err != nil {
					t.Errorf("the application: %v", err)
				}
			}
			for _, g := range harness.CollectCalls(t, callers, acquired) {
				if g.Err != nil {
					t.Errorf("caller: %v", g.Err)
				}
			}
			w.Count(t, callers, "one request per token")
		})
	}
}

// A sign-out that cannot reach Redis is an error, holds at once in this process, and is tried again until it is done:
// the user is signed out everywhere once Redis is back with its data, without anybody asking again.
func TestPendingSignOutIsTriedUntilDone(t *testing.T) {
	for name, out := range map[string]func(*harness.Instance, confidential.Client, confidential.Account) error{
		"Cache.RemoveAccount": func(i *harness.Instance, _ confidential.Client, a confidential.Account) error {
			return i.Tokens.RemoveAccount(context.Background(), a.HomeAccountID)
		},
		"MSAL's RemoveAccount": func(_ *harness.Instance, app confidential.Client, a confidential.Account) error {
			return app.RemoveAccount(context.Background(), a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if harness.Topology == "restricted" {
				t.Skip("a Redis that refuses SELECT does not read it in its own append-only file either")
			}
			w := harness.Breakable(t, redistest.Persistent())
			users := w.AddUsers(2)
			gone, stays := users[0], users[1]
			ctx := context.Background()
			here, there := w.Instance(harness.ShortOpTimeout), w.Instance(harness.ShortOpTimeout)
			app, elsewhere := here.App(), there.App()
			for _, u := range users {
				here.SignIn(app, u)
				harness.Must(t)(harness.Silent(ctx, elsewhere, u.HomeAccountID()))
			}
			account, err := app.Account(ctx, gone.HomeAccountID())
			if err != nil {
				t.Fatal(err)
			}
			sent := w.Entra.Count()

			w.Redis.Kill()
			err = out(here, app, account)
			if err == nil || !strings.Contains(err.Error(), "tried again") {
				t.Fatalf("a sign-out that did not reach Redis: error %v", err)
			}
			harness.Canary.SawError(err)
			if _, err := harness.Silent(ctx, app, gone.HomeAccountID()); err == nil {
				t.Error("the process of the sign-out still has a token")
			}
			w.Redis.Restart()
			if w.Fields()() == 0 {
				t.Fatal("Redis has lost its data, and this test shows nothing")
			}
			harness.Eventually(t, "the other instance signs out", func() bool {
				_, err := harness.Silent(ctx, elsewhere, gone.HomeAccountID())
				return err != nil
			})
			fresh := w.Instance().App()
			for name, app := range map[string]confidential.Client{"the first": app, "another": elsewhere, "a new one": fresh} {
				if _, err := harness.Silent(ctx, app, gone.HomeAccountID()); err == nil {
					t.Errorf("%s still has a token", name)
				}
				if _, err := harness.Silent(ctx, app, stays.HomeAccountID()); err != nil {
					t.Errorf("%s has lost another user: %v", name, err)
				}
			}
			w.Count(t, sent, "signing out")
		})
	}
}

// A Redis that loses its scripts, as by a failover or SCRIPT FLUSH, costs nothing: no error (FailClosed would return
// it), no request, no lease left behind, at whatever point of an acquisition it happens.
func TestLostScriptsCostNothing(t *testing.T) {
	w := harness.Breakable(t)
	u := w.AddUsers(1)[0]
	failClosed := func(o *msalredis.Options) { o.FailClosed = true }
	a, b := w.Instance(failClosed), w.Instance(failClosed)
	apps := []confidential.Client{a.App(), b.App()}
	ctx := context.Background()
	a.SignIn(apps[0], u)
	// every script has been loaded and used
	harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))

	before := w.Entra.Count()
	// While the lease is held and the token under way.
	door := w.Door()
	w.Redis.FlushScripts()
	calls := harness.StartCalls(32, func(n int) (confidential.AuthResult, error) {
		return apps[n%2].AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})
	})
	door.Wait(t)
	harness.InGate(t, 32)
	w.LeaseWaiters(t, 1)
	w.Redis.FlushScripts()
	door.Open()
	harness.OneToken(t, harness.CollectCalls(t, 32, calls))
	w.Count(t, before+1, "32 goroutines on two instances")

	// At a read, a refresh token's redemption and a sign-out.
	w.Redis.FlushScripts()
	harness.Must(t)(harness.Silent(ctx, apps[1], u.HomeAccountID()))
	w.Count(t, before+1, "a user's token on the other instance")
	w.Redis.FlushScripts()
	harness.Must(t)(harness.Silent(ctx, apps[1], u.HomeAccountID(), harness.MailScope))
	w.Redis.FlushScripts()
	harness.Must(t)(harness.Silent(ctx, w.Instance(failClosed).App(), u.HomeAccountID(), harness.MailScope))
	w.Count(t, before+2, "one redemption")
	for _, k := range w.KeysOf() {
		if strings.HasSuffix(k, ":lock") {
			t.Error("a lease was not released")
		}
	}
	w.Redis.FlushScripts()
	if err := a.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Errorf("a sign-out: %v", err)
	}
}
