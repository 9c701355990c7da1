package msalredis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/lock"
)

// store is Redis as the rest of the package sees it. Scripts are nearly all that it is asked: each does in one round
// trip what must be atomic, and answers with Redis's clock. Operations are bounded in number, and in time from when they
// are sent: a burst queues for our share of the pool, in order, and that is not Redis being away. Once an operation has
// found Redis away all that queues ends, and nobody waits until a probe has found it back.
//
// The breaker is not a library's, because theirs probe with the requests of callers: here a caller never waits
// for a Redis that is known to be away, so the probe is a goroutine of our own.
type store struct {
	client  redis.UniversalClient // bounded by timeout where go-redis can do that on the application's own pool
	timeout time.Duration
	bounded bool          // an operation of client ends within timeout by itself
	slots   chan struct{} // operations in flight, the lease's included
	clock   *clock
	metrics *metrics
	log     logger

	misfit  sync.Once
	away    *outage
	second  secondOpinion
	onBack  func()
	life    context.Context // ends with the Cache
	workers *group
}

func newStore(life context.Context, workers *group, client redis.UniversalClient, o Options, c *clock, m *metrics, log logger) *store {
	s := &store{client: client, timeout: o.OpTimeout, clock: c, metrics: m, log: log, away: newOutage(), life: life, workers: workers}
	// go-redis bounds a socket read by the context only where ContextTimeoutEnabled is set; WithTimeout does it on
	// the same pool. Only *redis.Client has it.
	size := 10 * runtime.GOMAXPROCS(0) // go-redis's default
	switch rc := client.(type) {
	case *redis.Client:
		s.client = rc.WithTimeout(o.OpTimeout)
		size, s.bounded = rc.Options().PoolSize, !callsOut(rc.Options())
	case *redis.ClusterClient:
		size = rc.Options().PoolSize
		if !rc.Options().ContextTimeoutEnabled {
			log.warn("the Redis cluster client ignores context deadlines: set ContextTimeoutEnabled in its options, or a hung node holds its connections for ReadTimeout")
		}
	}
	// Half the pool stays the application's, however long our operations hang.
	s.slots = make(chan struct{}, max(1, size/2))
	return s
}

// callsOut tells whether a client calls the application's code when it connects, which may take its time. (It dials in a
// goroutine of its own.)
func callsOut(o *redis.Options) bool {
	return o.OnConnect != nil || o.CredentialsProvider != nil || o.CredentialsProviderContext != nil || o.StreamingCredentialsProvider != nil
}

// do runs one operation. It returns when the operation has ended, when ctx ends, or OpTimeout after it was sent, whichever
// is first; the operation itself goes on to its own time-out, so that a caller who leaves does not undo a write.
// key is what the probe asks for if the operation finds Redis away: on a cluster it leads to the same node.
func (s *store) do(ctx context.Context, key string, op func(context.Context) error) error {
	o := s.prepare(ctx, key, op)
	s.begin(ctx, o)
	return o.wait(ctx)
}

// operation is one that queues or is under way. Any number of callers may wait for it.
type operation struct {
	key    string
	op     func(context.Context) error
	values context.Context
	until  time.Time // when it gives up waiting for a connection
	once   sync.Once
	ended  chan struct{}
	err    error // set before ended is closed
}

// waitAtMost is for how long an operation waits for its turn: callers whose contexts never end must not wait for ever.
const waitAtMost = 30 * time.Second

// hoggedAtMost is for how long an operation waits for a connection where the application uses all of them. Then it goes on as
// without Redis: who asks for a token waits for a few of these, and not until the application is done.
const hoggedAtMost = 2 * time.Second

// errBusy is no sign that Redis is away: it was not asked.
var errBusy = fmt.Errorf("msalredis: no Redis connection was free: %w", redis.ErrPoolTimeout)

// prepare makes an operation that nobody's context ends; ctx gives it its values.
func (s *store) prepare(ctx context.Context, key string, op func(context.Context) error) *operation {
	return &operation{
		key: key, op: op, values: context.WithoutCancel(ctx), until: time.Now().Add(waitAtMost), ended: make(chan struct{}),
	}
}

// begin carries an operation out for who waits with ctx: in this goroutine where ctx never ends and go-redis keeps to the
// time-out, else in one of its own, so that who waits can leave. Another goroutine costs 40 us on two cores, as much as a
// GET: each hand-over wakes a thread, which takes the processor that Redis was about to answer on.
func (s *store) begin(ctx context.Context, o *operation) {
	if !s.bounded || ctx.Done() != nil {
		s.start(o)
		return
	}
	if !s.workers.join() {
		o.end(ErrClosed)
		return
	}
	defer s.workers.leave()
	s.carryOut(o)
}

// start carries an operation out in a goroutine of its own.
func (s *store) start(o *operation) {
	if !s.workers.run(func() { s.carryOut(o) }) {
		o.end(ErrClosed)
	}
}

func (s *store) carryOut(o *operation) {
	if err := s.enter(o); err != nil {
		o.end(err)
		return
	}
	defer func() { <-s.slots }()
	patience := time.Now().Add(hoggedAtMost)
	for s.send(o) {
		switch {
		case s.life.Err() != nil:
			o.end(ErrClosed)
		case s.away.Load():
			o.end(errAway)
		case time.Now().After(patience):
			o.end(errBusy)
		default:
			continue
		}
		return
	}
}

// enter waits for a place in our share of the pool, first come, first served.
func (s *store) enter(o *operation) error {
	present := s.away.presence()
	if present.Err() != nil {
		return errAway
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	patience := time.NewTimer(time.Until(o.until))
	defer patience.Stop()
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-present.Done():
		return errAway
	case <-s.life.Done():
		return ErrClosed
	case <-patience.C:
		return errBusy
	}
}

// queues tells whether operations wait for their turn.
func (s *store) queues() bool { return len(s.slots) == cap(s.slots) }

// send carries an operation out once, and ends it; true: it got no connection, because the application uses all of them.
//
// Where go-redis keeps to the time-out it is taken at its word: its time runs while it waits for Redis. Ours runs on while this
// process waits for a processor, in a burst for longer than Redis takes, and is the last resort.
func (s *store) send(o *operation) (again bool) {
	longest := s.timeout
	if s.bounded {
		longest *= 4
	}
	limit, cancel := context.WithTimeout(o.values, longest)
	defer cancel()
	hogged := make(chan bool, 1)
	inTime := context.AfterFunc(limit, func() {
		err := fmt.Errorf("msalredis: Redis did not answer within %v: %w", longest, context.DeadlineExceeded)
		h := s.hogged(o.key, err)
		if !h {
			s.lost(o.key, err)
			o.end(err)
		}
		hogged <- h
	})
	err := o.op(limit)
	switch {
	case !inTime():
		again = <-hogged && err != nil
	case isPoolError(err) && s.hogged(o.key, err):
		again = sleep(s.life, s.timeout/10) // go-redis waited for less than we do, or not at all
	}
	if !again {
		o.end(s.judge(o.key, err))
	}
	return again
}

// end gives an operation its outcome; the first one counts.
func (o *operation) end(err error) {
	o.once.Do(func() {
		o.err = err
		close(o.ended)
	})
}

// over tells whether an operation has ended or has taken too long. One that still queues has not.
func (o *operation) over() bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

// wait waits for an operation to end, or for ctx.
func (o *operation) wait(ctx context.Context) error {
	select {
	case <-o.ended:
		return o.err
	default:
	}
	select {
	case <-o.ended:
		return o.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryLease tries to take a lease. It queues as operations do: for as long, and until Redis is found away.
func (c *Cache) tryLease(ctx context.Context, key string) (*lock.Lease, error) {
	for until := time.Now().Add(hoggedAtMost); ; {
		waiting, cancel := c.store.away.bound(ctx)
		lease, err := c.locker.TryAcquire(waiting, key)
		ended := waiting.Err()
		cancel()
		switch {
		case err == nil, errors.Is(err, lock.ErrHeld), errors.Is(err, lock.ErrLost), ctx.Err() != nil:
			return lease, err
		case ended != nil:
			return nil, errAway
		case c.store.hogged(key, err) && time.Now().Before(until):
			if !sleep(ctx, c.o.OpTimeout/10) {
				return nil, ctx.Err()
			}
			continue
		}
		return nil, c.store.judge(key, err)
	}
}

// run runs a script through do and hands its answer to use, inside the operation, so that a write's result is
// taken in even when its caller has left.
func (s *store) run(ctx context.Context, script *redis.Script, keys []string, use func(reply) error, args ...any) error {
	return s.do(ctx, keys[0], s.script(script, keys, use, args...))
}

// script is the operation that runs a script.
func (s *store) script(script *redis.Script, keys []string, use func(reply) error, args ...any) func(context.Context) error {
	return func(ctx context.Context) error {
		start := time.Now()
		ctx, ran := s.metrics.runs(ctx, script)
		values, err := script.Run(ctx, s.client, keys, args...).Slice()
		ran(err)
		if err != nil {
			return err
		}
		r, err := parseReply(values)
		if err != nil {
			return err
		}
		s.clock.observe(start, time.Now(), r.us)
		return use(r)
	}
}

// sleep waits for d; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var errReply = errors.New("msalredis: unexpected answer of a script")

// reply is a script's answer: Redis's clock, then strings and whole numbers; a list among them counts as its members.
type reply struct {
	us     int64
	fields []string
}

func parseReply(values []any) (reply, error) {
	if len(values) == 0 {
		return reply{}, errReply
	}
	r := reply{fields: make([]string, 0, len(values))}
	for i, v := range values {
		switch v := v.(type) {
		case int64:
			r.fields = append(r.fields, formatInt(v))
		case string:
			r.fields = append(r.fields, v)
		case []any:
			r.fields = slices.Grow(r.fields, len(v))
			for _, member := range v {
				text, ok := member.(string)
				if !ok || i == 0 {
					return reply{}, errReply
				}
				r.fields = append(r.fields, text)
			}
		default:
			return reply{}, errReply
		}
	}
	if len(r.fields) == 0 {
		return reply{}, errReply
	}
	us, err := strconv.ParseInt(r.fields[0], 10, 64)
	if err != nil {
		return reply{}, errReply
	}
	r.us, r.fields = us, r.fields[1:]
	return r, nil
}

// number is field i as a number; -1 where it is not one.
func (r reply) number(i int) int64 {
	if i >= len(r.fields) {
		return -1
	}
	return whole(r.fields[i])
}

// whole is text as a number; -1 where it is not one.
func whole(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
