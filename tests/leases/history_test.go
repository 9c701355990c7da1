package leases_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
	"github.com/msal-redis/msal-redis-go/lock"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// The histories of this file are recorded from lockers on a real Redis, while leases are evicted and holders freeze for
// longer than their lease lives, and checked for linearizability against what the package promises: whether every order
// of events that the histories leave open contradicts it.

func TestMain(m *testing.M) {
	if subprocess.Role() == competitorRole {
		os.Exit(competitorMain())
	}
	harness.Main(m)
}

var historyTime = flag.Duration("histories", 2*time.Second, "how long to record histories")

// what happens to one lease, and to what it guards.
type happening struct {
	what   string // acquire, release, evict, lose, write, read
	holder int    // of acquire, release, lose: the lease, each with a number of its own
	fence  int64  // of write
}

// came of a happening.
type came struct {
	fence int64 // of acquire; of read: that of the last write, 0 for none
	ok    bool  // of release: the lease was ours to the end; of write: it was not refused
}

// leaseState is what the contract leaves to be told of a lease and of what it guards.
type leaseState struct {
	holder  int   // 0: nobody
	fence   int64 // the last that was drawn
	written int64 // the fence of the last write
}

// leases is the contract.
//
//   - One holder at a time: a lease is taken only when it is nobody's, by release, eviction or loss.
//   - A lease that was another's by then is not released: nobody frees another's.
//   - Fences grow, from holder to holder, also after an eviction.
//   - Of writes that carry a fence, and are refused if it is smaller than that of the last one, no older overwrites a
//     newer.
var leases = porcupine.Model{
	Init: func() any { return leaseState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(leaseState), input.(happening), output.(came)
		switch in.what {
		case "acquire":
			ok := s.holder == 0 && out.fence > s.fence
			s.holder, s.fence = in.holder, out.fence
			return ok, s
		case "release":
			mine := s.holder == in.holder
			if mine && out.ok {
				s.holder = 0
			}
			return mine == out.ok, s
		case "evict":
			s.holder = 0
			return true, s
		case "lose": // at any moment between the taking of the lease and its release, which found it lost
			if s.holder == in.holder {
				s.holder = 0
			}
			return true, s
		case "write":
			ok := in.fence >= s.written
			if out.ok {
				s.written = in.fence
			}
			return ok == out.ok, s
		case "read":
			return out.fence == s.written, s
		}
		panic(in.what)
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// guarded is what a lease is for: a value that is written with a fence.
//
// KEYS[1]  the value: the fence it was written with
// ARGV[1]  the writer's fence
var guarded = redis.NewScript(`
if tonumber(redis.call("get", KEYS[1]) or 0) > tonumber(ARGV[1]) then return 0 end
redis.call("set", KEYS[1], ARGV[1])
return 1`)

// chronicle records a history.
type chronicle struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
	last  int

	evicted atomic.Int64
}

func (c *chronicle) now() int64 { return int64(time.Since(c.start)) }

// holder is a new number of a lease.
func (c *chronicle) holder() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	return c.last
}

func (c *chronicle) add(client int, call int64, in happening, out came) {
	c.note(client, call, c.now(), in, out)
}

func (c *chronicle) note(client int, call, back int64, in happening, out came) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops = append(c.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
}

// legal checks the history.
func (c *chronicle) legal(t *testing.T) bool {
	t.Helper()
	switch porcupine.CheckOperationsTimeout(leases, c.ops, time.Minute) {
	case porcupine.Ok:
		return true
	case porcupine.Unknown:
		t.Error("the history could not be checked within a minute")
	}
	return false
}

// competitor is a locker of its own, and the client that it shares with what it guards.
type competitor struct {
	*lock.Locker
	rdb    *redis.Client
	frozen atomic.Bool // keeps renewals from Redis, as if the process were stopped
	broken func(ctx context.Context, cmd redis.Cmder, next func() error) (handled bool, err error)
}

func (c *competitor) process(ctx context.Context, cmd redis.Cmder, next func() error) error {
	if c.frozen.Load() && isScript(cmd, renew) {
		<-ctx.Done()
		return ctx.Err()
	}
	if c.broken != nil {
		if handled, err := c.broken(ctx, cmd, next); handled {
			return err
		}
	}
	return next()
}

// hook is what a competitor does with its commands.
type hook struct{ *competitor }

func (h hook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := h.process(ctx, cmd, func() error { return next(ctx, cmd) })
		cmd.SetErr(err)
		return err
	}
}

// The lock's scripts, by the hashes that EVALSHA has.
var obtain, renew, release = scriptHash("obtain"), scriptHash("renew"), scriptHash("release")

func scriptHash(name string) string {
	source, err := os.ReadFile("../../lock/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	return redis.NewScript(string(source)).Hash()
}

// isScript tells whether cmd runs a script.
func isScript(cmd redis.Cmder, hash string) bool {
	return cmd.Name() == "evalsha" && cmd.Args()[1] == hash
}

// life of the leases.
const life = 100 * time.Millisecond

// long is a time that no test waits for: what should come without it comes without it.
const long = time.Minute

// bound is when a test gives up on something that should come at once, on a machine with other things to do.
const bound = 10 * time.Second

func compete(t *testing.T, s *redistest.Server, broken func(c *competitor)) *competitor {
	c := &competitor{rdb: s.Client()}
	if broken != nil {
		broken(c)
	}
	c.rdb.AddHook(hook{c})
	c.Locker = lock.New(c.rdb, &lock.Options{TTL: life})
	t.Cleanup(func() {
		if err := c.Locker.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// turn takes the lease, writes and reads under it, and gives it back, and notes everything.
func (c *chronicle) turn(t *testing.T, client int, l *competitor, key string, freeze time.Duration) {
	ctx := t.Context()
	began, holder := c.now(), c.holder()
	s, err := l.TryAcquire(ctx, key)
	if errors.Is(err, lock.ErrHeld) || errors.Is(err, lock.ErrLost) || errors.Is(err, os.ErrDeadlineExceeded) {
		return // on a busy machine a lease's short life ends before an answer is here; if it was taken, it is nobody's
	}
	if err != nil {
		t.Errorf("TryAcquire: %v", err)
		return
	}
	c.add(client, began, happening{what: "acquire", holder: holder}, came{fence: s.Fence()})
	taken := c.now()
	if freeze > 0 {
		l.frozen.Store(true)
		time.Sleep(freeze) // what a stopped process does
		l.frozen.Store(false)
	}
	call := c.now()
	ok, err := guarded.Run(ctx, l.rdb, []string{guardedBy(key)}, s.Fence()).Bool()
	if err != nil {
		t.Errorf("write: %v", err)
		return
	}
	c.add(client, call, happening{what: "write", fence: s.Fence()}, came{ok: ok})
	call = c.now()
	err = s.Release(ctx)
	if errors.Is(err, os.ErrDeadlineExceeded) { // Redis may free it yet, or it runs out
		c.note(client, taken, math.MaxInt64, happening{what: "lose", holder: holder}, came{})
		return
	}
	if err != nil && !errors.Is(err, lock.ErrLost) {
		t.Errorf("Release: %v", err)
		return
	}
	c.released(client, holder, began, taken, call, err == nil)
	call = c.now()
	read, err := l.rdb.Get(ctx, guardedBy(key)).Int64()
	if err != nil {
		t.Errorf("read: %v", err)
		return
	}
	c.add(client, call, happening{what: "read"}, came{fence: read})
}

// released notes a release, and the loss that it tells of. A lease cannot run out before its life is over, however busy
// the machine is; lost earlier, it must have been evicted.
func (c *chronicle) released(client, holder int, began, taken, call int64, ours bool) {
	if !ours && c.now()-began >= int64(life) {
		c.add(client, taken, happening{what: "lose", holder: holder}, came{})
	}
	c.add(client, call, happening{what: "release", holder: holder}, came{ok: ours})
}

func guardedBy(key string) string { return key + ":guarded" }

// record has three lockers of two goroutines each compete for one lease, which is evicted at random, and whose holder
// freezes at random for longer than it lives; and who else there is.
func record(t *testing.T, s *redistest.Server, all []*competitor, others ...func(c *chronicle, key string)) *chronicle {
	key := "msal:v1:{" + redistest.Prefix(t) + "}:lock"
	c := &chronicle{start: time.Now()}
	until := time.Now().Add(300 * time.Millisecond)
	// On a busy machine none of the evictions of that time may meet a lease.
	going := func() bool {
		return time.Now().Before(until) || c.evicted.Load() == 0 && time.Since(c.start) < bound
	}
	var wg sync.WaitGroup
	for i, l := range all {
		for j := range 2 {
			wg.Go(func() {
				for going() && !t.Failed() {
					var freeze time.Duration
					if rand.N(20) == 0 {
						freeze = life + rand.N(life/2)
					}
					c.turn(t, 2*i+j, l, key, freeze)
					time.Sleep(rand.N(4 * time.Millisecond)) // so that others have their turn
				}
			})
		}
	}
	wg.Go(func() {
		for going() && !t.Failed() {
			time.Sleep(rand.N(40 * time.Millisecond))
			call := c.now()
			n, _ := s.Do("DEL", key).(int64)
			c.add(2*len(all), call, happening{what: "evict"}, came{})
			c.evicted.Add(n)
		}
	})
	for _, f := range others {
		wg.Go(func() { f(c, key) })
	}
	wg.Wait()
	return c
}

// TestHistoriesOfLeases: goroutines with clients of their own, and a process that is stopped by SIGSTOP while it holds
// the lease.
func TestHistoriesOfLeases(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	all := []*competitor{compete(t, s, nil), compete(t, s, nil), compete(t, s, nil)}
	worker := startCompetitor(t, s)
	histories, operations, evicted, counts := 0, 0, int64(0), map[string]int{}
	for end := time.Now().Add(*historyTime); time.Now().Before(end) && !t.Failed(); {
		c := record(t, s, all, func(c *chronicle, key string) {
			for lost := worker.lost; worker.lost == lost && time.Since(c.start) < bound && !t.Failed(); {
				worker.turn(t, c, 100, key)
			}
		})
		if !c.legal(t) {
			t.Errorf("a history of %d operations that the contract does not allow: %s", len(c.ops), c.picture(t))
		}
		histories++
		operations += len(c.ops)
		evicted += c.evicted.Load()
		for _, op := range c.ops {
			counts[op.Input.(happening).what]++
		}
	}
	t.Logf("%d histories of %d operations: %v, %d leases evicted, %d lost by the stopped process",
		histories, operations, counts, evicted, worker.lost)
	if counts["lose"] == 0 || evicted == 0 {
		t.Error("nothing was lost or nothing evicted: this test shows little")
	}
}

// TestHistoriesOfBrokenLeases: without what keeps the contract the same competition brings about histories that it does
// not allow, and the checker says so.
func TestHistoriesOfBrokenLeases(t *testing.T) {
	for name, broken := range map[string]func(c *competitor){
		"a release without the comparison of owners": func(c *competitor) {
			c.broken = func(ctx context.Context, cmd redis.Cmder, next func() error) (bool, error) {
				if isScript(cmd, release) {
					owner, err := c.rdb.Get(ctx, cmd.Args()[3].(string)).Result()
					if err == nil {
						cmd.Args()[4] = owner
					}
				}
				return false, nil
			}
		},
		"fences that each process counts": func(c *competitor) {
			var n atomic.Int64
			c.broken = func(ctx context.Context, cmd redis.Cmder, next func() error) (bool, error) {
				if !isScript(cmd, obtain) {
					return false, nil
				}
				err := next()
				if cmd, ok := cmd.(*redis.Cmd); ok && err == nil && cmd.Val() != int64(0) {
					cmd.SetVal(n.Add(1))
				}
				return true, err
			}
		},
		"a write that ignores its fence": func(c *competitor) {
			c.broken = func(ctx context.Context, cmd redis.Cmder, next func() error) (bool, error) {
				if !isScript(cmd, guarded.Hash()) {
					return false, nil
				}
				err := c.rdb.Set(ctx, cmd.Args()[3].(string), cmd.Args()[4], 0).Err()
				cmd.(*redis.Cmd).SetVal(int64(1))
				return true, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			all := []*competitor{compete(t, s, broken), compete(t, s, broken), compete(t, s, broken)}
			for end := time.Now().Add(bound); ; {
				c := record(t, s, all)
				if !c.legal(t) {
					t.Logf("illegal, after %d operations", len(c.ops))
					return
				}
				if time.Now().After(end) {
					t.Fatal("the checker has found nothing")
				}
			}
		})
	}
}

// picture writes a history as a page, to look at.
func (c *chronicle) picture(t *testing.T) string {
	_, info := porcupine.CheckOperationsVerbose(leases, c.ops, time.Minute)
	path := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(leases, info, path); err != nil {
		t.Error(err)
	}
	return path
}

// remote is a process that takes the lease, writes, and releases when it is told, so that what it does can be dated
// here: from before it is told until after it has answered.
type remote struct {
	*subprocess.Child[remoteOrder, int64]
	lost int
}

type remoteOrder struct{ Do, Key string }

const competitorRole = "competitor"

func startCompetitor(t *testing.T, s *redistest.Server) *remote {
	p, err := subprocess.Start[remoteOrder, int64](subprocess.Spec{Role: competitorRole, Setup: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return &remote{Child: p}
}

// ask gives an order and returns the answer: a number, negative for "no".
func (r *remote) ask(t *testing.T, order, key string) int64 {
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	n, err := r.Do(ctx, remoteOrder{order, key})
	if err != nil {
		t.Error(err)
		return -1
	}
	return n
}

// turn is a turn in the process, which is stopped for longer than the lease lives.
func (r *remote) turn(t *testing.T, c *chronicle, client int, key string) {
	holder := c.holder()
	var began, fence int64
	for fence = -1; fence < 0; {
		began = c.now()
		if fence = r.ask(t, "acquire", key); t.Failed() || fence < 0 && began > int64(bound) {
			return
		}
	}
	c.add(client, began, happening{what: "acquire", holder: holder}, came{fence: fence})
	taken := c.now()
	r.Freeze()
	time.Sleep(life + life/4)
	r.Thaw()
	call := c.now()
	ok := r.ask(t, "write", key) == 1
	c.add(client, call, happening{what: "write", fence: fence}, came{ok: ok})
	call = c.now()
	ours := r.ask(t, "release", key) == 1
	if !ours {
		r.lost++
	}
	c.released(client, holder, began, taken, call, ours)
}

// competitorMain is the process's side.
func competitorMain() int {
	return subprocess.Serve(func(p *subprocess.Parent[remoteOrder, int64], url string) (func(), error) {
		opts, err := redis.ParseURL(url)
		if err != nil {
			return nil, err
		}
		opts.ContextTimeoutEnabled = true
		rdb := redis.NewClient(opts)
		l := lock.New(rdb, &lock.Options{TTL: life})
		var s *lock.Lease
		return func() {
			p.Answer(func(o remoteOrder) int64 {
				var err error
				answer := int64(-1)
				switch o.Do {
				case "acquire":
					if s, err = l.Acquire(p.Context, o.Key); err == nil {
						answer = s.Fence()
					}
				case "write":
					if answer, err = guarded.Run(p.Context, rdb, []string{guardedBy(o.Key)}, s.Fence()).Int64(); err != nil {
						answer = -1
					}
				case "release":
					if s.Release(p.Context) == nil {
						answer = 1
					}
				}
				return answer
			})
		}, nil
	})
}
