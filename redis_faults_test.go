package msalredis_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// quick is the OpTimeout that users have: these tests are about a Redis that does not answer.
func quick(o *msalredis.Options) { o.OpTimeout = 250 * time.Millisecond }

// Redis goes away and comes back empty. Meanwhile tokens come from memory, a new one costs one request for the whole
// process, and when Redis is back they are there for others without another request: users' too, who stay signed in.
func TestRedisGoesAwayAndComesBackEmpty(t *testing.T) {
	w := breakable(t)
	u := w.addUsers(1)[0]
	i := w.instance(quick)
	ctx := context.Background()
	app, second := i.app(), i.app()
	i.signIn(app, u)
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Fatal(err)
	}
	w.redis.Kill()
	sent := w.entra.Count()
	if _, err := silent(ctx, app, u.HomeAccountID()); err != nil {
		t.Errorf("a user's token from memory: %v", err)
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Errorf("an app's token from memory: %v", err)
	}
	w.count(t, sent, "tokens from memory")
	const other = "https://org.crm4.dynamics.com/.default"
	errs := parallel(32, func(g int) error {
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
	w.count(t, sent+1, "a new token while Redis is away")

	w.redis.Restart()
	eventually(t, "the tokens get there", func() bool {
		// Using a token is what makes the instance look, and write a lost user's record back.
		_, _ = silent(ctx, app, u.HomeAccountID())
		records := 0
		for _, k := range w.keysOf() {
			if len(k) > 7 && k[len(k)-7:] == ":tokens" {
				records++
			}
		}
		return records == 2
	})
	fresh := w.instance().app()
	if _, err := silent(ctx, fresh, u.HomeAccountID()); err != nil {
		t.Errorf("the user is signed out by a restart of Redis: %v", err)
	}
	if _, err := fresh.AcquireTokenByCredential(ctx, []string{other}); err != nil {
		t.Error(err)
	}
	w.count(t, sent+1, "after Redis came back")
}

// A Redis that hangs costs OpTimeout once, and nothing once the breaker is open.
func TestRedisHangsNobodyWaitsOnceTheBreakerIsOpen(t *testing.T) {
	w := breakable(t)
	i := w.instance(quick)
	app := i.app()
	ctx := context.Background()
	w.redis.Freeze()
	defer w.redis.Thaw()
	begun := time.Now()
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Fatal(err)
	}
	// Bounds that tell working from stuck: go-redis alone would wait for 5 s, three times over.
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the first call took %v", took)
	}
	begun = time.Now()
	for n := range 20 {
		if _, err := app.AcquireTokenByCredential(ctx, []string{"https://api" + string(rune('a'+n)) + ".example.com/.default"}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("20 calls with the breaker open took %v", took)
	}
	w.count(t, 21, "one request per token")
}

// A Redis that is still loading its data answers, and is away nevertheless: nobody asks it for each token.
func TestRedisThatLoadsIsAway(t *testing.T) {
	w := worldOn(t, nil)
	rdb, err := connect.Open("redis://"+nonsense(t, "-LOADING Redis is loading the dataset in memory\r\n", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	heard := newCanaries()
	o := options(w.prefix)
	o.Logger = heard.logger()
	i := w.instanceOn(rdb, w.sealer(w.keys), o)
	t.Cleanup(func() {
		i.close()
		rdb.Close()
	})
	app := i.app()
	for range 2 {
		must(t)(app.AcquireTokenByCredential(t.Context(), []string{graph}))
	}
	w.count(t, 1, "one token")
	heard.mu.Lock()
	text := heard.text.String()
	heard.mu.Unlock()
	if !strings.Contains(text, "Redis is away") {
		t.Error("the breaker is closed")
	}
	_, _ = canary.Write([]byte(text))
}

// fields counts the entries in Redis, of all partitions. It is how a test learns that a write has come there without
// asking for the token, which would bring it there.
func (w *world) fields() func() int {
	rdb := w.redis.admin
	return func() int {
		ctx := context.Background()
		keys, err := w.redis.keys(ctx, w.prefix+":*:tokens")
		if err != nil {
			return -1 // away
		}
		n := 0
		for _, k := range keys {
			n += int(rdb.HLen(ctx, k).Val()) - 1 // "v" is the version
		}
		return n
	}
}

var apis = []string{graph, dynamics}

// useWithoutRedis lets 32 goroutines on two clients of an instance acquire tokens of apis while Redis takes no writes, and
// checks that each cost one request.
func (i *instance) useWithoutRedis(t *testing.T) {
	t.Helper()
	before := map[string]int{}
	for _, api := range apis {
		before[api] = i.w.entra.Count(entratest.ByScope(api))
	}
	apps := []confidential.Client{i.app(), i.app()}
	errs := parallel(32, func(g int) error {
		_, err := apps[g%2].AcquireTokenByCredential(context.Background(), []string{apis[g/2%2]})
		return err
	})
	if len(errs) > 0 {
		t.Errorf("%d of 32 failed: %v", len(errs), errs[0])
	}
	// One that comes later finds nothing in a memory of its own, nor a request to join.
	late := i.gateApp()
	for _, api := range apis {
		if _, err := late.AcquireTokenByCredential(context.Background(), []string{api}); err != nil {
			t.Errorf("a client that came later: %v", err)
		}
		i.w.count(t, before[api]+1, "all callers for "+api, entratest.ByScope(api))
	}
}

// obeysPauses checks that an instance remembers for how long Entra ID wants no requests.
func (i *instance) obeysPauses(t *testing.T) {
	t.Helper()
	const api = "https://throttled.example.com/.default"
	remove := i.w.entra.AddFault(entratest.Fault{Match: entratest.ByScope(api), Status: http.StatusTooManyRequests, RetryAfter: "60"})
	defer remove()
	app := i.app()
	for range 3 {
		if _, err := app.AcquireTokenByCredential(context.Background(), []string{api}); err == nil {
			t.Error("a throttled request brought a token")
		}
	}
	i.w.count(t, 1, "calls during the pause that Entra ID asked for", entratest.ByScope(api))
}

// sharedWithoutRequest checks that a new instance has the tokens of apis, with the accessor and with the gate alone.
func (w *world) sharedWithoutRequest(t *testing.T) {
	t.Helper()
	sent := w.entra.Count()
	fresh := w.instance()
	for name, app := range map[string]confidential.Client{"client": fresh.app(), "client with the gate alone": fresh.gateApp()} {
		for _, api := range apis {
			if _, err := app.AcquireTokenByCredential(context.Background(), []string{api}); err != nil {
				t.Errorf("a new instance's %s: %v", name, err)
			}
		}
	}
	w.count(t, sent, "a new instance")
}

// A service starts while Redis is not there. Its tokens cost one request each, and once Redis comes up they get there without
// another: nobody need ask for them again.
func TestRedisNotThereAtStart(t *testing.T) {
	w := breakable(t)
	w.redis.Kill()
	i := w.instance(quick)
	i.useWithoutRedis(t)
	w.redis.Restart()
	fields := w.fields()
	eventually(t, "the tokens get there", func() bool { return fields() == len(apis) })
	w.sharedWithoutRequest(t)
}

// A Redis that reads and refuses to write, as after a failover that its clients have not seen, or when it is full: what it
// has is served, what is new costs one request per process, and gets there once it can be written.
func TestRedisThatTakesNoWrites(t *testing.T) {
	for name, fault := range map[string]struct{ begin, end func(*world) }{
		"read-only":     {func(w *world) { w.redis.ReadOnly(w.t) }, func(w *world) { w.redis.Writable() }},
		"out of memory": {func(w *world) { w.redis.FillMemory() }, func(w *world) { w.redis.MaxMemory(0) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := breakable(t)
			u := w.addUsers(1)[0]
			first := w.instance(quick)
			first.signIn(first.app(), u)
			fields := w.fields()
			had, sent := fields(), w.entra.Count()

			fault.begin(w)
			i := w.instance(quick)
			if _, err := silent(context.Background(), i.app(), u.HomeAccountID()); err != nil {
				t.Errorf("a token that Redis has: %v", err)
			}
			w.count(t, sent, "a token that Redis has")
			i.useWithoutRedis(t)
			i.obeysPauses(t)
			if got := fields(); got != had {
				t.Fatalf("Redis has %d entries, had %d: it takes writes, and this test shows nothing", got, had)
			}
			fault.end(w)
			c := &census{all: map[string]point{}}
			eventually(t, "the tokens get there", func() bool {
				return fields() == had+len(apis) && c.of(t, i, "msalredis.pending.writes") == 0 // and the gate's answers
			})
			w.sharedWithoutRequest(t)
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
func (w *world) linked() (*instance, *link) {
	w.t.Helper()
	l := &link{}
	rdb := w.client(func(o *redis.UniversalOptions) { l.conf, o.Dialer = o.TLSConfig, l.dial })
	return w.instanceOn(rdb, w.sealer(w.keys), options(w.prefix)), l
}

// What an instance could not write comes to Redis late, and never over what others wrote meanwhile: an app's token, its
// answer, a user's token and the refresh token that goes with it.
func TestPendingWritesNeverReplaceNewerTokens(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	cut, link := w.linked()
	cutApp, cutGate := cut.app(), cut.gateApp()
	other := w.instance()
	app := other.app()
	cut.signIn(cutApp, u)
	fields := w.fields()
	had := fields()

	link.set(true)
	old := map[string]string{
		"app":  must(t)(cutApp.AcquireTokenByCredential(ctx, []string{graph})),
		"user": must(t)(silent(ctx, cutApp, u.HomeAccountID(), mailScope)),
	}
	// Written with them, and new to Redis: when these are there, the others have been tried.
	must(t)(cutApp.AcquireTokenByCredential(ctx, []string{dynamics}))
	must(t)(silent(ctx, cutApp, u.HomeAccountID(), filesScope))
	newer := map[string]string{
		"app":  must(t)(app.AcquireTokenByCredential(ctx, []string{graph})),
		"user": must(t)(silent(ctx, app, u.HomeAccountID(), mailScope)),
	}
	const late = 2
	stored := fields()
	if stored != had+2 || old["app"] == newer["app"] || old["user"] == newer["user"] {
		t.Fatalf("%d entries, had %d: nothing waits to be written, and this test shows nothing", stored, had)
	}
	sent := w.entra.Count()

	link.set(false)
	eventually(t, "the late tokens get there", func() bool { return fields() == stored+late })
	fresh := w.instance()
	freshApp, freshGate := fresh.app(), fresh.gateApp()
	for name, reader := range map[string]struct{ app, gate confidential.Client }{
		"a new instance":            {freshApp, freshGate},
		"the one that wrote late":   {cutApp, cutGate},
		"the one that wrote before": {app, other.gateApp()},
	} {
		if must(t)(reader.gate.AcquireTokenByCredential(ctx, []string{graph})) != newer["app"] {
			t.Errorf("%s: the app's answer is not the newer one", name)
		}
		eventually(t, name+" has the newer tokens", func() bool {
			return must(t)(reader.app.AcquireTokenByCredential(ctx, []string{graph})) == newer["app"] &&
				must(t)(silent(ctx, reader.app, u.HomeAccountID(), mailScope)) == newer["user"]
		})
	}
	w.count(t, sent, "reading what was written late")
	// The instance that was cut off has redeemed twice, the other once after it: the next one redeems the latter's.
	must(t)(silent(ctx, freshApp, u.HomeAccountID(), calendarScope))
	if redeemed := w.generations(); !slices.Equal(redeemed, []int{1, 2, 1, 2}) {
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
		"at the lease": {"msalredis.(*leader).lease(", pool / 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := breakable(t)
			if w.redis.Cluster {
				t.Skip("counts the connections of one pool; a client of a cluster has one for each node")
			}
			rdb := w.client(func(o *redis.UniversalOptions) {
				o.ContextTimeoutEnabled = true // else the lease's client is a copy, without the hook
				o.PoolSize = pool
				o.PoolTimeout = time.Second // what a command gets an error after, if there is no connection left for it
				o.ReadTimeout = time.Minute // else the application's commands would give up on Redis itself
			})
			// A connection that is made later does not get through TLS's handshake with a Redis that hangs.
			if errs := parallel(pool, func(n int) error {
				return rdb.BLPop(context.Background(), 100*time.Millisecond, fmt.Sprintf("%s:application:%d", w.prefix, n)).Err()
			}); slices.ContainsFunc(errs, func(err error) bool { return !errors.Is(err, redis.Nil) }) {
				t.Fatal(errs)
			}
			hook := atLease{make(chan struct{})}
			rdb.AddHook(hook)
			opts := options(w.prefix)
			opts.LockTTL = time.Minute // a fourth of it bounds the lease's operations
			i := w.instanceOn(rdb, w.sealer(w.keys), opts)
			app := i.gateApp()
			ctx := context.Background()
			if stage.atTheirLook {
				w.redis.Freeze()
			}
			open := sync.OnceFunc(func() { close(hook.opened) })
			defer open()
			defer w.redis.Thaw()
			acquired := start(callers, func(n int) (confidential.AuthResult, error) {
				return app.AcquireTokenByCredential(ctx, []string{fmt.Sprintf("https://api%d.example.com/.default", n)})
			})
			inStack(t, stage.waitIn, stage.waiting)
			w.redis.Freeze()
			open()
			eventually(t, "the library's share of the pool is in use", func() bool {
				s := rdb.PoolStats()
				return s.TotalConns-s.IdleConns >= pool/2
			})

			done := make(chan error, pool/2)
			for n := range pool / 2 {
				go func() { done <- rdb.Set(ctx, fmt.Sprintf("%s:application:%d", w.prefix, n), 1, time.Minute).Err() }()
			}
			eventually(t, "the application's commands have connections, or an error", func() bool {
				s := rdb.PoolStats()
				return s.TotalConns-s.IdleConns == pool && s.PendingRequests == 0 || len(done) == cap(done)
			})
			w.redis.Thaw()
			for range pool / 2 {
				if err := <-done; err != nil {
					t.Errorf("the application: %v", err)
				}
			}
			for _, g := range collect(t, callers, acquired) {
				if g.err != nil {
					t.Errorf("caller: %v", g.err)
				}
			}
			w.count(t, callers, "one request per token")
		})
	}
}

// With FailClosed an acquisition fails with Redis's error, whichever operation met it: reading, looking for another's
// answer, the lease, storing. Without it none does. The errors say what is wrong and which option makes it theirs, and no
// secret; the Azure SDK does not retry them.
func TestFailClosedReturnsRedisErrors(t *testing.T) {
	appToken := func(app confidential.Client, _ entratest.User) error {
		_, err := app.AcquireTokenByCredential(context.Background(), []string{graph})
		return err
	}
	userToken := func(app confidential.Client, u entratest.User) error {
		_, err := silent(context.Background(), app, u.HomeAccountID())
		return err
	}
	kill := func(w *world) { w.redis.Kill() }
	for name, test := range map[string]struct {
		begin    func(*world)
		use      func(confidential.Client, entratest.User) error
		want     string // in the error
		requests int    // that are made all the same
	}{
		"a user's token, Redis away": {kill, userToken, "reading tokens", 0},
		"an app's token, Redis away": {kill, appToken, "looking for a shared answer", 0},
		"an app's token, Redis hung": {func(w *world) {
			w.redis.Freeze()
			w.t.Cleanup(w.redis.Thaw)
		}, appToken, "looking for a shared answer", 0},
		"the lease, Redis read-only": {func(w *world) { w.redis.ReadOnly(w.t) }, appToken, "taking the lease", 0},
		// Full once the request is under way: before that the lease would be what fails.
		"storing, Redis full": {func(w *world) {
			w.entra.OnTokenRequest(func(entratest.Request) { w.redis.FillMemory() })
		}, appToken, "storing tokens", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := breakable(t)
			u := w.addUsers(1)[0]
			fails, goesOn := w.instance(quick, func(o *msalredis.Options) { o.FailClosed = true }), w.instance(quick)
			failing, going := fails.app(), goesOn.app()
			goesOn.signIn(going, u) // what this instance has in memory is all that it can go on with
			sent := w.entra.Count()
			test.begin(w)
			err := test.use(failing, u)
			if err == nil {
				t.Fatal("FailClosed: no error")
			}
			canary.sawError(err)
			for _, want := range []string{"Redis", "FailClosed", test.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("FailClosed: the error does not say %q: %v", want, err)
				}
			}
			var final interface{ NonRetriable() }
			if !errors.As(err, &final) {
				t.Errorf("FailClosed: the Azure SDK would try for ten seconds more after: %v", err)
			}
			w.count(t, sent+test.requests, "FailClosed")
			if err := test.use(going, u); err != nil {
				t.Errorf("not FailClosed: %v", err)
			}
		})
	}
}

// With FailClosed nobody asks Entra ID who could not look once more under the lease: another instance may have the answer.
func TestFailClosedSecondLook(t *testing.T) {
	w := newWorld(t)
	var looks atomic.Int64
	second := &refusing{chosen: func(cmd redis.Cmder) bool {
		return hasKeys(cmd, ":response", ":pause") && looks.Add(1) == 2
	}}
	rdb := w.client()
	rdb.AddHook(second)
	o := options(w.prefix)
	o.FailClosed = true
	app := w.instanceOn(hooked{rdb}, w.sealer(w.keys), o).app()
	must(t)(app.AcquireTokenByCredential(context.Background(), []string{dynamics})) // Redis knows the scripts: a look is one command
	second.on.Store(true)
	_, err := app.AcquireTokenByCredential(context.Background(), []string{graph})
	if err == nil || !strings.Contains(err.Error(), "looking for a shared answer") {
		t.Errorf("the error is %v", err)
	}
	canary.sawError(err)
	w.count(t, 1, "a look that failed")
	must(t)(app.AcquireTokenByCredential(context.Background(), []string{graph}))
	w.count(t, 2, "the next call")
}

// A sign-out that cannot reach Redis is an error, holds at once in this process, and is tried again until it is done: the
// user is signed out everywhere once Redis is back with its data, without anybody asking again.
func TestPendingSignOutIsTriedUntilDone(t *testing.T) {
	for name, out := range map[string]func(*instance, confidential.Client, confidential.Account) error{
		"Cache.RemoveAccount": func(i *instance, _ confidential.Client, a confidential.Account) error {
			return i.tokens.RemoveAccount(context.Background(), a.HomeAccountID)
		},
		"MSAL's RemoveAccount": func(_ *instance, app confidential.Client, a confidential.Account) error {
			return app.RemoveAccount(context.Background(), a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if *topology == "restricted" {
				t.Skip("a Redis that refuses SELECT does not read it in its own append-only file either")
			}
			w := breakable(t, redistest.Persistent())
			users := w.addUsers(2)
			gone, stays := users[0], users[1]
			ctx := context.Background()
			here, there := w.instance(quick), w.instance(quick)
			app, elsewhere := here.app(), there.app()
			for _, u := range users {
				here.signIn(app, u)
				must(t)(silent(ctx, elsewhere, u.HomeAccountID()))
			}
			account, err := app.Account(ctx, gone.HomeAccountID())
			if err != nil {
				t.Fatal(err)
			}
			sent := w.entra.Count()

			w.redis.Kill()
			err = out(here, app, account)
			if err == nil || !strings.Contains(err.Error(), "tried again") {
				t.Fatalf("a sign-out that did not reach Redis: error %v", err)
			}
			canary.sawError(err)
			if _, err := silent(ctx, app, gone.HomeAccountID()); err == nil {
				t.Error("the process of the sign-out still has a token")
			}
			w.redis.Restart()
			if w.fields()() == 0 {
				t.Fatal("Redis has lost its data, and this test shows nothing")
			}
			eventually(t, "the other instance signs out", func() bool {
				_, err := silent(ctx, elsewhere, gone.HomeAccountID())
				return err != nil
			})
			fresh := w.instance().app()
			for name, app := range map[string]confidential.Client{"the first": app, "another": elsewhere, "a new one": fresh} {
				if _, err := silent(ctx, app, gone.HomeAccountID()); err == nil {
					t.Errorf("%s still has a token", name)
				}
				if _, err := silent(ctx, app, stays.HomeAccountID()); err != nil {
					t.Errorf("%s has lost another user: %v", name, err)
				}
			}
			w.count(t, sent, "signing out")
		})
	}
}

// Close does not wait for a Redis that hangs, whatever is under way: calls, leases, subscriptions, writes that wait.
func TestCloseReturnsWhileRedisHangs(t *testing.T) {
	w := breakable(t)
	i, other := w.instance(quick), w.instance(quick)
	app, gate := i.app(), other.gateApp()
	ctx := context.Background()
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	door := w.door()
	held := start(1, func(int) (confidential.AuthResult, error) { // a lease
		return i.gateApp().AcquireTokenByCredential(ctx, []string{dynamics})
	})
	door.wait(t)
	waits := start(1, func(int) (confidential.AuthResult, error) { // and one that waits for its answer
		return gate.AcquireTokenByCredential(ctx, []string{dynamics})
	})
	w.leaseWaiters(t, 1)
	w.redis.Freeze()
	defer w.redis.Thaw()
	if err := i.tokens.RemoveAccount(ctx, "somebody."+tenant); err == nil { // and a write that waits
		t.Error("a sign-out that Redis did not answer: no error")
	} else {
		canary.sawError(err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		i.close()
		other.close()
	}()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("Close has not returned within 20 s")
	}
	// While Redis hangs: what waits for it ends when it is back, and would not be seen any more.
	left := ""
	defer func() {
		if left != "" {
			t.Logf("left running:\n%s", left)
		}
	}()
	eventually(t, "the library's goroutines have ended", func() bool { left = ofLibrary(); return left == "" })
	door.open()
	for _, calls := range []<-chan got{held, waits} {
		for _, g := range collect(t, 1, calls) {
			if g.err == nil {
				t.Error("a call under way when the Cache was closed brought a token") // there was no answer to bring
			} else if !errors.Is(g.err, msalredis.ErrClosed) {
				t.Errorf("a call under way when the Cache was closed: %v", g.err)
			}
		}
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{mailScope}); !errors.Is(err, msalredis.ErrClosed) {
		t.Errorf("a call after Close: %v", err)
	}
}

// ofLibrary are the stacks of the goroutines that run the library's code or were started by it.
func ofLibrary() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var ours []string
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		for _, pkg := range []string{"msalredis", "lock", "internal/redisop", "internal/bus", "internal/workers"} { // those that start goroutines
			if strings.Contains(stack, "msal-redis-go/"+pkg+".") {
				ours = append(ours, stack)
				break
			}
		}
	}
	return strings.Join(ours, "\n\n")
}

// Close writes what waits if Redis is there, also when nobody has noticed yet that it is back.
func TestCloseFlushesWhatWaits(t *testing.T) {
	w := newWorld(t)
	i, link := w.linked()
	link.set(true)
	i.useWithoutRedis(t)
	if got := w.fields()(); got != 0 {
		t.Fatalf("Redis has %d entries: this test shows nothing", got)
	}
	link.set(false)
	i.close()
	w.sharedWithoutRequest(t)
}

// A Redis that loses its scripts, as by a failover or SCRIPT FLUSH, costs nothing: no error (FailClosed would return it), no
// request, no lease left behind, at whatever point of an acquisition it happens.
func TestLostScriptsCostNothing(t *testing.T) {
	w := breakable(t)
	u := w.addUsers(1)[0]
	failClosed := func(o *msalredis.Options) { o.FailClosed = true }
	a, b := w.instance(failClosed), w.instance(failClosed)
	apps := []confidential.Client{a.app(), b.app()}
	ctx := context.Background()
	a.signIn(apps[0], u)
	must(t)(apps[0].AcquireTokenByCredential(ctx, []string{graph})) // every script has been loaded and used

	before := w.entra.Count()
	// While the lease is held and the token under way.
	door := w.door()
	w.redis.FlushScripts()
	calls := start(32, func(n int) (confidential.AuthResult, error) {
		return apps[n%2].AcquireTokenByCredential(ctx, []string{dynamics})
	})
	door.wait(t)
	inGate(t, 32)
	w.leaseWaiters(t, 1)
	w.redis.FlushScripts()
	door.open()
	oneToken(t, collect(t, 32, calls))
	w.count(t, before+1, "32 goroutines on two instances")

	// At a read, a refresh token's redemption and a sign-out.
	w.redis.FlushScripts()
	must(t)(silent(ctx, apps[1], u.HomeAccountID()))
	w.count(t, before+1, "a user's token on the other instance")
	w.redis.FlushScripts()
	must(t)(silent(ctx, apps[1], u.HomeAccountID(), mailScope))
	w.redis.FlushScripts()
	must(t)(silent(ctx, w.instance(failClosed).app(), u.HomeAccountID(), mailScope))
	w.count(t, before+2, "one redemption")
	for _, k := range w.keysOf() {
		if strings.HasSuffix(k, ":lock") {
			t.Error("a lease was not released")
		}
	}
	w.redis.FlushScripts()
	if err := a.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Errorf("a sign-out: %v", err)
	}
}
