package redisop

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/bus"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/lock"
)

var (
	// ErrClosed is returned after the end of Options.Life and of Options.Workers.
	ErrClosed = errors.New("msalredis: the cache is closed")
	// ErrAway is returned without a wait while Redis is known to be away.
	ErrAway = errors.New("msalredis: Redis is away")
	// ErrReply is an answer of a script that is of no form it gives.
	ErrReply = errors.New("msalredis: unexpected answer of a script")
)

// Usable is the error of who begins after the end of the Redis's life, or of the caller's own context.
func Usable(life, caller context.Context) error {
	if life.Err() != nil {
		return ErrClosed
	}
	return caller.Err()
}

// Options are what a Redis is made with; all are needed.
type Options struct {
	Timeout  time.Duration // of an operation, from when it is sent
	LeaseTTL time.Duration
	Clock    *redistime.Clock // learns from the answers of scripts
	Metrics  telemetry.Recorder
	Log      telemetry.Logger
	OnBack   func() // called when Redis was away and is back

	Life    context.Context // ends with who asks
	Workers *workers.Group  // in which operations are carried out
}

// Redis is a Redis as the library asks it. Scripts are nearly all that it is asked: each does in one round trip what
// must be atomic, and answers with Redis's clock.
type Redis struct {
	// Breaker is open while Redis is known to be away.
	//
	// It is not a library's, because theirs probe with the requests of callers: here a caller never waits for a Redis that
	// is known to be away, so the probe is a goroutine of our own.
	Breaker *Breaker
	// Bus is what Redis publishes, on one connection: the ends of leases, and what its users subscribe to.
	Bus *bus.Bus

	client  redis.UniversalClient // bounded by timeout where go-redis can do that on the application's own pool
	bounded bool                  // go-redis bounds each read and write of client by timeout
	inline  bool                  // and all else that an operation waits for
	timeout time.Duration
	slots   chan struct{} // operations in flight, the lease's included
	locker  *lock.Locker

	clock   *redistime.Clock
	metrics telemetry.Recorder
	log     telemetry.Logger
	onBack  func()
	life    context.Context
	workers *workers.Group

	wrongClientTold sync.Once
	fresh           freshConnection
}

// New makes a Redis on a client, which stays the caller's. It asks nothing.
func New(client redis.UniversalClient, o Options) *Redis {
	r := &Redis{
		Breaker: newBreaker(), client: client, timeout: o.Timeout, clock: o.Clock, metrics: o.Metrics, log: o.Log,
		onBack: o.OnBack, life: o.Life, workers: o.Workers,
	}
	// go-redis bounds a socket read by the context only where ContextTimeoutEnabled is set; WithTimeout does it on
	// the same pool. Only *redis.Client has it; a cluster's is bounded by the deadline of [answering].
	size := 10 * runtime.GOMAXPROCS(0) // go-redis's default
	switch rc := client.(type) {
	case *redis.Client:
		r.client = rc.WithTimeout(o.Timeout)
		size, r.bounded = rc.Options().PoolSize, !callsOut(rc.Options())
		r.inline = r.bounded
	case *redis.ClusterClient:
		// It asks for COMMAND and looks names up with contexts of its own, for seconds: only leaving it helps. Of a negative
		// time-out its nodes make none, whatever the context says.
		its := rc.Options()
		size, r.bounded = its.PoolSize, its.ContextTimeoutEnabled && its.ReadTimeout >= 0 && its.WriteTimeout >= 0
		if !its.ContextTimeoutEnabled {
			r.log.Warn("the Redis cluster client ignores context deadlines: set ContextTimeoutEnabled in its options, " +
				"or a hung node holds its connections for ReadTimeout")
		}
	}
	// Half the pool stays the application's, however long our operations hang.
	r.slots = make(chan struct{}, max(1, size/2))
	r.Bus = bus.New(client, max(o.Timeout, time.Second)) // nobody waits for its handshake, but Close does
	r.locker = lock.New(client, &lock.Options{
		TTL: o.LeaseTTL, OpTimeout: o.Timeout, InFlight: r.slots, Bus: r.Bus, Unfenced: true,
	})
	return r
}

// callsOut tells whether a client calls the application's code when it connects, which may take its time. (It dials in
// a goroutine of its own.)
func callsOut(o *redis.Options) bool {
	return o.OnConnect != nil || o.CredentialsProvider != nil || o.CredentialsProviderContext != nil ||
		o.StreamingCredentialsProvider != nil
}

// Close ends the leases and the Bus. What else is under way ends with Options.Life and Options.Workers.
func (r *Redis) Close() error {
	defer r.Bus.Close()
	return r.locker.Close()
}

// Do runs one operation. It returns when the operation has ended, when ctx ends, or when its time is over (see send),
// whichever is first; the operation itself goes on to its own time-out, so that a caller who leaves does not undo a
// write. key is what the probe asks for if the operation finds Redis away: on a cluster it leads to the same node.
func (r *Redis) Do(ctx context.Context, key string, op func(context.Context, redis.UniversalClient) error) error {
	o := r.prepare(ctx, key, op)
	r.Begin(ctx, o)
	return o.Wait(ctx)
}

// Run runs a script through Do and hands its answer to use, inside the operation, so that a write's result is
// taken in even when its caller has left.
func (r *Redis) Run(
	ctx context.Context, script *redis.Script, keys []string, use func(Reply) error, args ...any,
) error {
	o := r.Prepare(ctx, script, keys, use, args...)
	r.Begin(ctx, o)
	return o.Wait(ctx)
}

// RunAside is Run for what can do without Redis, and lives on a server that others need not ask: its failure is not
// taken for Redis being away.
func (r *Redis) RunAside(
	ctx context.Context, script *redis.Script, keys []string, use func(Reply) error, args ...any,
) error {
	o := r.Prepare(ctx, script, keys, use, args...)
	o.aside = true
	r.Begin(ctx, o)
	return o.Wait(ctx)
}

// Prepare makes an operation that runs a script, to be begun once and waited for by any number of callers. ctx gives it
// its values and does not end it.
func (r *Redis) Prepare(
	ctx context.Context, script *redis.Script, keys []string, use func(Reply) error, args ...any,
) *Operation {
	return r.prepare(ctx, keys[0], func(ctx context.Context, client redis.UniversalClient) error {
		start, sent := time.Now(), time.Duration(r.clock.Elapsed())
		ctx, ran := r.metrics.Script(ctx, layout.ScriptName(script))
		values, err := script.Run(ctx, client, keys, args...).Slice()
		ran(Failure(err))
		if err != nil {
			return err
		}
		reply, err := parseReply(values)
		if err != nil {
			return err
		}
		reply.Sent = sent
		r.clock.Observe(start, time.Now(), reply.Time)
		return use(reply)
	})
}

// Queues tells whether operations wait for their turn.
func (r *Redis) Queues() bool { return len(r.slots) == cap(r.slots) }

// TryLease tries to take a lease. It queues as operations do: for as long, and until Redis is found away.
func (r *Redis) TryLease(ctx context.Context, key string) (*lock.Lease, error) {
	for until := time.Now().Add(crowdedAtMost); ; {
		waiting, cancel := r.Breaker.bound(ctx)
		lease, err := r.locker.TryAcquire(waiting, key)
		ended := waiting.Err()
		cancel()
		switch {
		case err == nil, errors.Is(err, lock.ErrHeld), ctx.Err() != nil:
			return lease, err
		case ended != nil:
			return nil, ErrAway
		case r.poolExhausted(key, err) && time.Now().Before(until):
			if !workers.Sleep(ctx, r.timeout/10) {
				return nil, ctx.Err()
			}
			continue
		}
		return nil, r.judge(key, err)
	}
}

// Releases is a subscription to the end of the leases of a key.
func (r *Redis) Releases(ctx context.Context, key string) (*lock.Subscription, error) {
	return r.locker.Subscribe(ctx, key)
}
