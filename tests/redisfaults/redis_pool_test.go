package redisfaults_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// road is a TCP proxy before a server: everything takes a delay each way, and connections can be dropped as a load
// balancer does it, without a word to either end.
type road struct {
	to    string
	delay time.Duration
	l     net.Listener
	wg    sync.WaitGroup

	mu    sync.Mutex
	dead  chan struct{} // closed: the connections made until then carry nothing any more
	conns []net.Conn
	made  int
}

func newRoad(t *testing.T, to string, delay time.Duration) *road {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &road{to: to, delay: delay, l: l, dead: make(chan struct{})}
	r.wg.Go(r.serve)
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *road) serve() {
	for {
		near, err := r.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, near, far)
		r.made++
		dead := r.dead
		r.mu.Unlock()
		r.wg.Go(func() { r.carry(near, far, dead) })
		r.wg.Go(func() { r.carry(far, near, dead) })
	}
}

func (r *road) carry(from, to net.Conn, dead <-chan struct{}) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		<-time.After(r.delay)
		select {
		case <-dead: // neither bytes nor the end of them
			_, _ = io.Copy(io.Discard, from)
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// drop kills all connections that there are, without a word.
func (r *road) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.dead)
	r.dead = make(chan struct{})
}

// over sends a client's connections over roads, one for each server.
func over(w *harness.World, t *testing.T, delay time.Duration) (change func(*redis.UniversalOptions), drop func()) {
	t.Helper()
	var mu sync.Mutex
	roads := map[string]*road{}
	change = func(o *redis.UniversalOptions) {
		dial := redis.NewDialer(&redis.Options{TLSConfig: o.TLSConfig, DialTimeout: 5 * time.Second})
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			r := roads[addr]
			if r == nil {
				r = newRoad(t, addr, delay)
				roads[addr] = r
			}
			mu.Unlock()
			return dial(ctx, network, r.l.Addr().String())
		}
	}
	return change, func() {
		mu.Lock()
		defer mu.Unlock()
		for addr, r := range roads {
			// go-redis's own connection to Sentinel is in no pool, and it waits for that as long as it is told to.
			if w.Redis.Address.Master == "" || !slices.Contains(w.Redis.Address.Addrs, addr) {
				r.drop()
			}
		}
	}
}

// Many identities at once on a Redis that is well: they queue for the library's half of the pool, which is not Redis
// being away. Each token is asked for once, and FailClosed finds nothing to fail.
//
// It is a long test also because it needs the processors to itself: make test-long runs one package after the other.
func TestLongBurstOfIdentitiesIsNoOutage(t *testing.T) {
	long.Test(t)
	for name, c := range map[string]struct {
		identities, pool int
		closed           bool
		timeout          time.Duration
	}{
		// Its road to Redis shares this process's processors with 3,000 callers: 250 ms are not always enough under the race
		// detector. That queueing is not counted shows the other.
		"1,000 identities":           {1000, 20, false, time.Second},
		"200 identities, FailClosed": {200, 4, true, 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			if w.Redis.Cluster {
				t.Skip("the pool of one server")
			}
			slow, _ := over(w, t, time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // else MSAL allows 30 s
			defer cancel()
			var calls []func(n int) error
			for range 3 {
				o := harness.Options(w.Prefix)
				o.OpTimeout = c.timeout
				o.FailClosed = c.closed
				o.LockTTL = 30 * time.Second // a machine that starves the process must not cost it its leases
				i := w.InstanceOn(w.Client(slow, func(o *redis.UniversalOptions) { o.PoolSize = c.pool }), w.Sealer(w.Keys), o)
				app := i.GateApp()
				calls = append(calls, func(n int) error {
					_, err := app.AcquireTokenByCredential(ctx, []string{fmt.Sprintf("https://api%d.example.com/.default", n)})
					return err
				})
			}
			errs := harness.Parallel(3*c.identities, func(n int) error { return calls[n%3](n / 3) })
			if len(errs) > 0 {
				t.Errorf("%d of %d calls failed: %v", len(errs), 3*c.identities, errs[0])
			}
			w.Count(t, c.identities, "one request per token")
		})
	}
}

// A load balancer has dropped pooled connections without a word, as Azure's do with idle ones. However many are dead,
// the library is back soon; and once it is, none of them is left to make it or the application wait.
func TestConnectionsDroppedWithoutAWord(t *testing.T) { dropped(t, 1, 50) }

func TestLongConnectionsDroppedWithoutAWord(t *testing.T) {
	long.Test(t)
	dropped(t, 10, 20)
}

func dropped(t *testing.T, numbers ...int) {
	const pool = 60
	for _, dead := range numbers {
		t.Run(fmt.Sprint(dead), func(t *testing.T) {
			w := harness.NewWorld(t)
			roads, drop := over(w, t, 0)
			rdb := w.Client(roads, func(o *redis.UniversalOptions) { o.PoolSize = pool })
			o := harness.Options(w.Prefix)
			o.OpTimeout = 500 * time.Millisecond
			o.FailClosed = true
			i := w.InstanceOn(rdb, w.Sealer(w.Keys), o)
			app := i.GateApp()
			ctx := context.Background()
			call := func(name string) error {
				_, err := app.AcquireTokenByCredential(ctx, []string{"https://" + name + ".example.com/.default"})
				return err
			}
			if err := call("before"); err != nil {
				t.Fatal(err)
			}
			fillPools(w, t, rdb, dead)
			drop()
			// A command of the application's own, on a connection that lives. The library's user need not be allowed it.
			list := w.Prefix + ":application"
			popped := make(chan error, 1)
			waiting := w.Client(roads, w.Redis.Unlimited)
			go func() { popped <- waiting.BLPop(ctx, time.Minute, list).Err() }()

			dropped := time.Now()
			for n := 0; ; n++ {
				err := call(fmt.Sprintf("after%d", n))
				if err == nil {
					break
				}
				if !strings.Contains(err.Error(), "Redis") {
					t.Fatal(err)
				}
				if time.Since(dropped) > time.Minute {
					t.Fatal("it does not come back")
				}
			}
			bound := 5 * time.Second
			if w.Redis.Address.Master != "" {
				bound = time.Minute // it is promised for a single server: here go-redis asks a Sentinel first
			}
			if took := time.Since(dropped); took > bound {
				t.Errorf("back after %v", took)
			}
			bursts := 0
			harness.Eventually(t, "a burst finds no dead connection", func() bool {
				bursts++
				return len(harness.Parallel(pool, func(n int) error { return call(fmt.Sprintf("burst%d-%d", bursts, n)) })) == 0
			})
			if err := w.Redis.Admin.LPush(ctx, list, "x").Err(); err != nil {
				t.Fatal(err)
			}
			if err := <-popped; err != nil {
				t.Errorf("the application's command: %v", err)
			}
			soon, cancel := context.WithTimeout(ctx, 4*time.Second) // shorter than go-redis's ReadTimeout
			defer cancel()
			errs := harness.Parallel(pool, func(n int) error {
				return rdb.Set(soon, fmt.Sprintf("%s:application:%d", w.Prefix, n), 1, time.Minute).Err()
			})
			if len(errs) > 0 {
				t.Errorf("%d of the application's commands: %v", len(errs), errs[0])
			}
			if soon.Err() != nil {
				t.Error("the application's commands met connections that were dead")
			}
		})
	}
}

// fillPools has a client hold n idle connections to each server that it writes to.
func fillPools(w *harness.World, t *testing.T, rdb redis.UniversalClient, n int) {
	t.Helper()
	fill := func(ctx context.Context, node *redis.Client) error {
		// One after the other: a connection to a Redis before 8 may change the options that all those of a client share,
		// under a lock that each Conn has for itself (go-redis 9.23, initConn).
		var errs []error
		for range n {
			c := node.Conn()
			defer c.Close()
			errs = append(errs, c.Ping(ctx).Err())
		}
		return errors.Join(errs...)
	}
	var err error
	switch rdb := rdb.(type) {
	case *redis.ClusterClient:
		err = rdb.ForEachMaster(context.Background(), fill)
	case *redis.Client:
		err = fill(context.Background(), rdb)
	}
	if err != nil {
		t.Fatal(err)
	}
}
