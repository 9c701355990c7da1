package lock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/bus"
)

// Options change what [New] makes. The zero value of a field means its default.
type Options struct {
	// TTL is how long a lease lives in Redis without being renewed: at most so long do others wait for a holder that was
	// killed. A held lease is renewed every third of it. At least 50 ms. Default: 5 s.
	TTL time.Duration

	// OpTimeout bounds every Redis operation, from when it has its place InFlight. More than a quarter of TTL is taken for
	// a quarter of TTL, so that a renewal that hangs leaves time for another. Default: 250 ms.
	OpTimeout time.Duration

	// PollInterval is how often, give or take a half, a waiter looks whether the lease has become free, for the case that
	// the message which should have woken it was lost. Default: 250 ms.
	PollInterval time.Duration

	// InFlight bounds the operations in flight to its capacity: each holds a place in it, in other words sends to it
	// before and receives from it after. Who shares a pool with the application shares one InFlight among all that use it.
	// An operation waits for its place for as long as its context allows, a renewal or a release for as long as the lease
	// lives: waiting for it is not Redis being slow. Once the Locker is closed, a release needs no place. Default: no
	// bound.
	InFlight chan struct{}

	// Unfenced makes leases that have no fence: Fence is 0, and Redis keeps no second key. For who orders writes by
	// something else.
	Unfenced bool

	// Bus is for this module's own use: the subscription connection that a Locker shares with others in its process, and
	// does not close. Default: the Locker makes one, when somebody waits, and closes it.
	Bus *bus.Bus
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.TTL <= 0 {
		c.TTL = 5 * time.Second
	}
	c.TTL = max(c.TTL, 50*time.Millisecond)
	if c.OpTimeout <= 0 {
		c.OpTimeout = 250 * time.Millisecond
	}
	c.OpTimeout = min(c.OpTimeout, c.TTL/4)
	if c.PollInterval <= 0 {
		c.PollInterval = 250 * time.Millisecond
	}
	return c
}

// Locker hands out leases. It is safe for concurrent use; one per process is enough for any number of keys.
type Locker struct {
	opts   Options
	client redis.UniversalClient // each command bounded by OpTimeout where the client can
	bus    *bus.Bus              // that of the options, or our own
	reaper reaper

	// ctx ends with Close. It never bounds a Redis operation: those have OpTimeout, and an outcome is worth knowing.
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	leases map[*Lease]struct{} // held
	wg     sync.WaitGroup      // every goroutine of ours; Add under mu, and not once closed
}

// New makes a Locker; nil options are the defaults. It does not talk to Redis. The client stays the caller's, who
// closes it after the Locker.
//
// Set ContextTimeoutEnabled in the client's options: without it go-redis does not bound a read from the socket by the
// context. Where a *redis.Client (a sentinel's failover client is one) lacks it, New uses [redis.Client.WithTimeout],
// on the same pool; but the client's hooks, tracing for instance, do not run on that (go-redis v9.23 does not copy
// them). A *redis.ClusterClient or *redis.Ring has no such method: without ContextTimeoutEnabled callers still come
// back in time, but the goroutine and the connection that serve them are stuck for the client's ReadTimeout, Close
// waits for them, and a renewal that hangs is not tried again before the lease is lost.
//
// A *redis.Ring has no one server to subscribe to: there waiters only poll.
func New(client redis.UniversalClient, opts *Options) *Locker {
	l := &Locker{opts: opts.withDefaults(), client: client, leases: map[*Lease]struct{}{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if c, ok := client.(*redis.Client); ok && !c.Options().ContextTimeoutEnabled {
		l.client = c.WithTimeout(l.opts.OpTimeout)
	}
	if l.bus = l.opts.Bus; l.bus == nil {
		l.bus = bus.New(client, max(l.opts.OpTimeout, time.Second)) // nobody waits for its handshake, but Close does
	}
	return l
}

// trust is for how long after the start of a successful obtain or refresh we believe to hold the lease: its life in
// Redis begins later than that, when the server executes the command, and ends as much later. The tenth that is held
// back is for clocks that run at different speeds and for the time until whoever watches the Context has stopped.
func (l *Locker) trust() time.Duration { return l.opts.TTL - l.opts.TTL/10 }

// Close ends every goroutine and the connection of the waiters, and waits for them: about as long as one Redis
// operation where Redis hangs. Those who wait in Acquire get ErrClosed. Leases still held are lost to their holders,
// whose Context ends with ErrLost; since those may be at work still, the keys are left to expire within TTL, unless
// Release, which goes on working, frees them sooner. Calling Close again does nothing. It always returns nil.
func (l *Locker) Close() error {
	l.mu.Lock()
	l.closed = true
	held := l.leases
	l.leases = nil
	l.mu.Unlock()

	l.cancel()
	for s := range held {
		s.lose("the Locker was closed")
	}
	if l.opts.Bus == nil {
		l.bus.Close()
	}
	l.wg.Wait()
	return nil
}

// spawn runs f on a goroutine that Close waits for; false if it is too late for that.
func (l *Locker) spawn(f func()) bool {
	if !l.begin() {
		return false
	}
	go func() { defer l.wg.Done(); f() }()
	return true
}

// begin is spawn for a goroutine that somebody else has started; it ends with l.wg.Done.
func (l *Locker) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Add(1)
	return true
}

// hold and forget keep the set of leases that Close ends.
func (l *Locker) hold(s *Lease) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.leases[s] = struct{}{}
	return true
}

func (l *Locker) forget(s *Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.leases, s)
}

// run executes f, which talks to Redis, and gives its caller the outcome; or leaves f behind when ctx ends or the limit
// is over, because go-redis does not let go of a socket when its context is cancelled. The limit begins when f has its
// place among the operations in flight. f itself goes on to its end, under ctx's values but not its cancellation: a
// command that was sent takes effect whether or not we read the answer, and only who reads it knows. late, if not nil,
// then gets the outcome.
func run[T any](
	l *Locker, ctx context.Context, limit time.Duration, f func(context.Context) (T, error), late func(T, error),
) (T, error) {
	type outcome struct {
		v   T
		err error
	}
	var zero T
	if ctx.Err() != nil {
		return zero, ended(ctx)
	}
	entered := make(chan struct{})
	handOver := make(chan outcome)
	left := make(chan struct{})
	started := l.spawn(func() {
		if err := l.enter(ctx, left); err != nil {
			select {
			case handOver <- outcome{zero, err}:
			case <-left: // nothing was sent
			}
			return
		}
		close(entered)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		v, err := f(bounded)
		l.exit()
		select {
		case handOver <- outcome{v, err}:
		case <-left:
			if late != nil {
				late(v, err)
			}
		}
	})
	if !started {
		return zero, ErrClosed
	}
	var over <-chan time.Time
	for {
		select {
		case <-entered:
			entered = nil
			// A little more than f has: its own error says more than ours.
			timer := time.NewTimer(limit + limit/8)
			defer timer.Stop()
			over = timer.C
		case o := <-handOver:
			return o.v, o.err
		case <-ctx.Done():
			close(left)
			return zero, ended(ctx)
		case <-over:
			close(left)
			return zero, context.DeadlineExceeded // the caller's ctx has not ended; it becomes broken's
		}
	}
}

// enter takes a place among the operations in flight: first come, first served. An error if there was none until ctx or
// the caller went, or ErrClosed: what is left to do then is to free leases, and that waits for nobody (release,
// reapAll).
func (l *Locker) enter(ctx context.Context, left <-chan struct{}) error {
	if l.opts.InFlight == nil {
		return nil
	}
	select {
	case l.opts.InFlight <- struct{}{}:
		return nil
	case <-l.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
	case <-left:
	}
	return context.DeadlineExceeded
}

func (l *Locker) exit() {
	if l.opts.InFlight != nil {
		<-l.opts.InFlight
	}
}

// Format implements [fmt.Formatter]: no verb looks inside, at a client with its password.
func (l *Locker) Format(f fmt.State, _ rune) { fmt.Fprint(f, "lock.Locker") }
