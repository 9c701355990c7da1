package redisop

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/workers"
)

// Operation is one that queues or is under way. Any number of callers may wait for it.
type Operation struct {
	key    string
	op     func(context.Context, redis.UniversalClient) error
	values context.Context
	until  time.Time // when it gives up waiting for a connection
	aside  bool      // its failure says nothing of Redis
	once   sync.Once
	atEnd  func() // nil: nothing
	ended  chan struct{}
	err    error // set before ended is closed
}

// waitAtMost is for how long an operation waits for its turn: callers whose contexts never end must not wait for ever.
const waitAtMost = 30 * time.Second

// crowdedAtMost is for how long an operation waits for a connection where the application uses all of them. Then it
// goes on as without Redis: who asks for a token waits for a few of these, and not until the application is done.
const crowdedAtMost = 2 * time.Second

// errBusy is no sign that Redis is away: it was not asked.
var errBusy = fmt.Errorf("msalredis: no Redis connection was free: %w", redis.ErrPoolTimeout)

// prepare makes an operation that nobody's context ends; ctx gives it its values.
func (r *Redis) prepare(
	ctx context.Context, key string, op func(context.Context, redis.UniversalClient) error,
) *Operation {
	return &Operation{
		key: key, op: op, values: context.WithoutCancel(ctx), until: time.Now().Add(waitAtMost), ended: make(chan struct{}),
	}
}

// AtEnd has f called when the operation ends, before anyone knows. It must not block. It is for before Begin or Start.
func (o *Operation) AtEnd(f func()) { o.atEnd = f }

// Begin carries an operation out for who waits with ctx: in this goroutine where ctx never ends and go-redis keeps to
// the time-out, else in one of its own, so that who waits can leave. Another goroutine costs 40 us on two cores, as
// much as a GET: each hand-over wakes a thread, which takes the processor that Redis was about to answer on.
func (r *Redis) Begin(ctx context.Context, o *Operation) {
	if !r.inline || ctx.Done() != nil {
		r.Start(o)
		return
	}
	if !r.workers.Join() {
		o.end(ErrClosed)
		return
	}
	defer r.workers.Leave()
	r.carryOut(o)
}

// Start carries an operation out in a goroutine of its own.
func (r *Redis) Start(o *Operation) {
	if !r.workers.Run(func() { r.carryOut(o) }) {
		o.end(ErrClosed)
	}
}

func (r *Redis) carryOut(o *Operation) {
	if err := r.enter(o); err != nil {
		o.end(err)
		return
	}
	defer func() { <-r.slots }()
	patience := time.Now().Add(crowdedAtMost)
	for r.send(o) {
		switch {
		case r.life.Err() != nil:
			o.end(ErrClosed)
		case r.Breaker.IsOpen():
			o.end(ErrAway)
		case time.Now().After(patience):
			o.end(errBusy)
		default:
			continue
		}
		return
	}
}

// enter waits for a place in our share of the pool, first come, first served.
func (r *Redis) enter(o *Operation) error {
	present := r.Breaker.presence()
	if present.Err() != nil {
		return ErrAway
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	default:
	}
	patience := time.NewTimer(time.Until(o.until))
	defer patience.Stop()
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-present.Done():
		return ErrAway
	case <-r.life.Done():
		return ErrClosed
	case <-patience.C:
		return errBusy
	}
}

// send carries an operation out once, and ends it; true: it got no connection, because the application uses all of
// them.
//
// Where go-redis keeps to the time-out it is taken at its word: its time runs while it waits for Redis. Ours runs on
// while this process waits for a processor, in a burst for longer than Redis takes, and is the last resort.
func (r *Redis) send(o *Operation) (again bool) {
	longest := r.timeout
	if r.bounded {
		longest *= 4
	}
	limit, cancel := context.WithTimeout(o.values, longest)
	defer cancel()
	var asking context.Context = limit
	if r.bounded {
		asking = answering{limit, r.timeout}
	}
	crowded := make(chan bool, 1)
	inTime := context.AfterFunc(limit, func() {
		err := fmt.Errorf("msalredis: Redis did not answer within %v: %w", longest, context.DeadlineExceeded)
		h := !o.aside && r.poolExhausted(o.key, err)
		switch {
		case h:
		case o.aside:
			o.end(err)
		default:
			r.lost(o.key, err)
			o.end(err)
		}
		crowded <- h
	})
	err := o.op(asking, r.client)
	switch {
	case !inTime():
		again = <-crowded && err != nil
	case isPoolError(err) && r.poolExhausted(o.key, err):
		again = workers.Sleep(r.life, r.timeout/10) // go-redis waited for less than we do, or not at all
	}
	switch {
	case again:
	case o.aside:
		if err != nil {
			r.metrics.RedisFailed(Failure(err))
		}
		o.end(err)
	default:
		o.end(r.judge(o.key, err))
	}
	return again
}

// answering is a context whose deadline is, whenever it is asked for, as far away as an answer may be: go-redis asks
// when it begins to read or to write, where a client has ContextTimeoutEnabled.
type answering struct {
	context.Context
	within time.Duration
}

// Deadline implements [context.Context].
func (a answering) Deadline() (time.Time, bool) {
	last, ok := a.Context.Deadline()
	if next := time.Now().Add(a.within); !ok || next.Before(last) {
		return next, true
	}
	return last, ok
}

// end gives an operation its outcome; the first one counts.
func (o *Operation) end(err error) {
	o.once.Do(func() {
		o.err = err
		if o.atEnd != nil {
			o.atEnd()
		}
		close(o.ended)
	})
}

// Wait waits for an operation to end, or for ctx.
func (o *Operation) Wait(ctx context.Context) error {
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
