package msalredis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// errAway is returned without a wait while Redis is known to be away.
var errAway = errors.New("msalredis: Redis is away")

// store is Redis as the rest of the package sees it. Scripts are nearly all that it is asked: each does in one round
// trip what must be atomic, and answers with Redis's clock. Operations are bounded in time and number, and once one has
// found Redis away nobody waits for it until a probe has found it back.
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
	away    atomic.Bool
	onBack  func()
	life    context.Context // ends with the Cache
	workers *group
}

func newStore(life context.Context, workers *group, client redis.UniversalClient, o Options, c *clock, m *metrics, log logger) *store {
	s := &store{client: client, timeout: o.OpTimeout, clock: c, metrics: m, log: log, life: life, workers: workers}
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

// do runs one operation. It returns when the operation has ended, when ctx ends, or after the time-out, whichever
// is first; the operation itself goes on to its own time-out, so that a caller who leaves does not undo a write.
// key is what the probe asks for if the operation finds Redis away: on a cluster it leads to the same node.
func (s *store) do(ctx context.Context, key string, op func(context.Context) error) error {
	o := s.prepare(ctx, key, op)
	s.begin(ctx, o)
	return o.wait(ctx)
}

// operation is one that is under way. Any number of callers may wait for it.
type operation struct {
	key   string
	op    func(context.Context) error
	ended chan struct{}
	err   error // set before ended is closed
	limit context.Context
	stop  context.CancelFunc
	late  func() error // what to tell those who have waited for as long as it may take
}

// prepare makes an operation that nobody's context ends, and whose time begins now; ctx gives it its values.
func (s *store) prepare(ctx context.Context, key string, op func(context.Context) error) *operation {
	o := &operation{key: key, op: op, ended: make(chan struct{})}
	o.limit, o.stop = context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	o.late = sync.OnceValue(func() error {
		return s.judge(key, fmt.Errorf("msalredis: Redis did not answer within %v: %w", s.timeout, context.DeadlineExceeded))
	})
	return o
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
	if s.away.Load() {
		o.end(errAway)
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		// All our share of the pool is in use: under load a moment's wait, on a hung server until the time-out.
		select {
		case s.slots <- struct{}{}:
		case <-o.limit.Done():
			o.end(o.late())
			return
		}
	}
	err := o.op(o.limit)
	<-s.slots
	o.end(s.judge(o.key, err))
}

func (o *operation) end(err error) {
	o.err = err
	close(o.ended)
	o.stop()
}

// over tells whether an operation has ended or has taken too long.
func (o *operation) over() bool {
	select {
	case <-o.ended:
		return true
	default:
		return o.limit.Err() != nil
	}
}

// wait waits for an operation to end, for its time-out, or for ctx.
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
	case <-o.limit.Done():
		// The operation may be ending by itself at this moment, and then its own outcome counts.
		select {
		case <-o.ended:
			return o.err
		default:
			return o.late()
		}
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

// judge opens the breaker where err says that Redis is away, and returns err.
func (s *store) judge(key string, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return err
	}
	s.metrics.redisError(err)
	s.wrongClient(err)
	if isAway(err) && s.life.Err() == nil && s.away.CompareAndSwap(false, true) {
		s.log.warn("Redis is away; tokens come from memory or from Entra ID until it is back", "error", err)
		s.workers.run(func() { s.probe(key) })
	}
	return err
}

// isAway tells a server that does not serve from one that refuses: a read-only or full server answers at once and
// still reads, so only its writes fail.
func isAway(err error) bool {
	var ne net.Error
	if errors.As(err, &ne) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return true
	}
	text := err.Error()
	for _, prefix := range []string{"LOADING ", "CLUSTERDOWN ", "MASTERDOWN ", "TRYAGAIN ", "BUSY "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	var re redis.Error
	return !errors.As(err, &re) && !errors.Is(err, errReply) // EOF, pool time-out, refused and the like
}

func (s *store) probe(key string) {
	pause := 50 * time.Millisecond
	for {
		if !sleep(s.life, pause/2+rand.N(pause)) {
			return
		}
		pause = min(2*pause, 2*time.Second)
		ctx, cancel := context.WithTimeout(s.life, s.timeout)
		var err error
		select {
		case s.slots <- struct{}{}:
			err = s.client.PTTL(ctx, key).Err()
			<-s.slots
		case <-ctx.Done():
			err = ctx.Err()
		}
		cancel()
		if err != nil && isAway(err) {
			continue
		}
		s.away.Store(false)
		s.log.info("Redis is back")
		s.onBack()
		return
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
