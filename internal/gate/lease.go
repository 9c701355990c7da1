package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/lock"
)

// leaseWait is a leader's wait for its lease, at the head of its queue.
type leaseWait struct {
	*leader
	key    string
	queue  *queue
	since  time.Time // when the lease was found to be another's; zero: it was not
	enough time.Time // when the wait ends, and the leader asks without
	wake   *lock.Subscription
	ended  string // how, if not by the lease, an answer or the leader's end
}

const (
	endedUnavailable = "unavailable" // Redis does not give leases
	endedAlone       = "alone"       // the holder brings nothing
)

// take takes the lease, or waits until what the holder has brought settles the matter. nil and not settled: go on
// without.
//
// A holder that lives and brings nothing may have lost its way to Entra ID while ours is well. Whoever has waited for
// holderAtMost asks without the lease, and so does who comes after it in the queue: one at a time in each process.
func (l *leader) take(ctx context.Context, q *queue) (lease *lock.Lease, settled bool, err error) {
	g := l.g
	ctx, span := g.o.Metrics.Start(ctx, telemetry.SpanLock)
	w := &leaseWait{leader: l, key: g.o.Names.Lock(l.source.lease()), queue: q, ended: endedUnavailable}
	defer func() { w.end(ctx, span, lease != nil, settled) }()
	for {
		lease, held, err := w.try(ctx)
		switch {
		case !held:
			return lease, false, err
		case l.background:
			w.ended, l.outcome = outcomeElsewhere, outcomeElsewhere
			return nil, false, failure.New("another instance refreshes")
		case w.isTooLong():
			w.ended = endedAlone
			return nil, false, nil
		}
		if w.untilWorthATry(ctx); ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		if err := l.look(ctx); err != nil && g.o.FailClosed {
			return nil, false, looking(err)
		}
		if l.found.answer != nil || l.found.pause != nil {
			return nil, true, nil
		}
		if l.found.otherRefused && time.Since(w.since) > otherRefusedAtMost {
			return nil, false, nil
		}
	}
}

// otherRefusedAtMost is how long a caller waits for those of another credential, once one of them has been refused.
const otherRefusedAtMost = time.Second

// try tries for the lease. held: another has it. Neither: go on without.
func (w *leaseWait) try(ctx context.Context) (lease *lock.Lease, held bool, err error) {
	g := w.g
	without := func(why error) error {
		if g.o.FailClosed {
			return failure.Closed("taking the lease", why)
		}
		return nil
	}
	for !g.o.Redis.Breaker.IsOpen() {
		lease, err := g.o.Redis.TryLease(ctx, w.key)
		switch {
		case err == nil:
			w.queue.withoutLease = false
			return lease, false, nil
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case errors.Is(err, redisop.ErrAway):
			// Unless it is back by now.
		case errors.Is(err, lock.ErrHeld):
			return nil, true, nil
		default:
			g.o.Log.Warn("Redis gave no lease; this instance asks Entra ID without it, and others may ask too",
				"error", err)
			return nil, false, without(err)
		}
	}
	return nil, false, without(redisop.ErrAway)
}

// isTooLong tells whether the holder has been waited for long enough, by this leader or by one before it in the queue.
func (w *leaseWait) isTooLong() bool {
	if w.since.IsZero() {
		w.since = time.Now()
		w.enough = w.since.Add(holderAtMost + rand.N(holderAtMost/2)) // where many wait, the first to ask serves the rest
	}
	if time.Now().After(w.enough) {
		w.queue.withoutLease = true
	}
	return w.queue.withoutLease
}

// untilWorthATry waits until the holder may have brought something, or given back the lease.
func (w *leaseWait) untilWorthATry(ctx context.Context) {
	g := w.g
	if w.wake == nil {
		// Subscribed first, then one more look: what comes between is not missed.
		wake, err := g.o.Redis.Releases(ctx, w.key)
		if err != nil {
			workers.Sleep(ctx, 50*time.Millisecond+rand.N(50*time.Millisecond))
			return
		}
		w.wake = wake
		return
	}
	often := g.o.LockTTL / 20
	if g.o.Redis.Queues() { // those who have the leases come first: who waits is woken by them
		often *= 10
	}
	poll := time.NewTimer(min(often+rand.N(often), time.Until(w.enough)+time.Millisecond))
	defer poll.Stop()
	select {
	case <-w.wake.C():
	case <-poll.C:
	case <-ctx.Done():
	}
}

// end ends the wait, and tells how it went.
func (w *leaseWait) end(ctx context.Context, span telemetry.Span, taken, settled bool) {
	if w.wake != nil {
		w.wake.Close()
	}
	switch {
	case taken:
		w.ended = "taken"
	case settled:
		w.ended = "answered"
	case w.ended == endedAlone:
	case ctx.Err() != nil:
		w.ended = outcomeLeft
	}
	if !w.since.IsZero() {
		w.g.o.Metrics.LockWaited(ctx, w.ended, w.since)
	}
	span.Set(telemetry.Outcome(w.ended))
	span.End()
}

func looking(err error) error { return failure.Closed("looking for a shared answer", err) }

// released counts a lease that was lost before its holder gave it back; one that the end of the Cache took is none.
func (g *Gate) released(ctx context.Context, err error) {
	if errors.Is(err, lock.ErrLost) && g.o.Life.Err() == nil {
		g.o.Metrics.LockLost(ctx)
		g.o.Log.Warn("a lease was lost while a token was asked for; another instance may have asked too")
	}
}
