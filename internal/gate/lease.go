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

// take takes the lease, or waits until what the holder has brought settles the matter. nil and not settled: go on
// without.
//
// A holder that lives and brings nothing may have lost its way to Entra ID while ours is well. Whoever has waited for
// holderAtMost asks without the lease, and so does who comes after it in the turn: one at a time in each process.
func (l *leader) take(ctx context.Context, turn *turn) (lease *lock.Lease, settled bool, err error) {
	g, key := l.g, l.g.o.Names.Lock(l.source.lease())
	ctx, span := g.o.Metrics.Start(ctx, telemetry.SpanLock)
	var waiting time.Time // since when another has been holding the lease
	var enough time.Time
	outcome := "unavailable"
	defer func() {
		switch {
		case lease != nil:
			outcome = "taken"
		case settled:
			outcome = "answered"
		case outcome == "alone":
		case ctx.Err() != nil:
			outcome = outcomeLeft
		}
		if !waiting.IsZero() {
			g.o.Metrics.LockWaited(ctx, outcome, waiting)
		}
		span.SetAttributes(telemetry.Outcome(outcome))
		span.End()
	}()
	var wake *lock.Subscription
	defer func() {
		if wake != nil {
			wake.Close()
		}
	}()
	for {
		if g.o.Redis.Breaker.IsOpen() {
			if g.o.FailClosed {
				return nil, false, leasing(redisop.ErrAway)
			}
			return nil, false, nil
		}
		lease, err := g.o.Redis.TryLease(ctx, key)
		switch {
		case err == nil:
			turn.alone = false
			return lease, false, nil
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case errors.Is(err, redisop.ErrAway):
			continue
		case !errors.Is(err, lock.ErrHeld) && !errors.Is(err, lock.ErrLost):
			g.o.Log.Warn("no lease can be had; the token is asked for without", "error", err)
			if g.o.FailClosed {
				return nil, false, leasing(err)
			}
			return nil, false, nil
		case l.background:
			outcome, l.outcome = outcomeElsewhere, outcomeElsewhere
			return nil, false, failure.New("another instance refreshes")
		}
		if waiting.IsZero() {
			waiting = time.Now()
			enough = waiting.Add(holderAtMost + rand.N(holderAtMost/2)) // where many wait, the first to ask serves the rest
		}
		if turn.alone = turn.alone || time.Now().After(enough); turn.alone {
			outcome = "alone"
			return nil, false, nil
		}
		if wake == nil {
			// Subscribed first, then one more look: what comes between is not missed.
			if wake, err = g.o.Redis.Releases(ctx, key); err != nil {
				wake = nil
				if !workers.Sleep(ctx, 50*time.Millisecond+rand.N(50*time.Millisecond)) {
					return nil, false, ctx.Err()
				}
			}
		} else {
			often := g.o.LockTTL / 20
			if g.o.Redis.Queues() { // those who have the leases come first: who waits is woken by them
				often *= 10
			}
			poll := time.NewTimer(min(often+rand.N(often), time.Until(enough)+time.Millisecond))
			select {
			case <-wake.C():
			case <-poll.C:
			case <-ctx.Done():
			}
			poll.Stop()
		}
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		if err := l.look(ctx); err != nil && g.o.FailClosed {
			return nil, false, looking(err)
		}
		if l.found.answer != nil || l.found.pause != nil {
			return nil, true, nil
		}
		if l.found.apart && time.Since(waiting) > apartAtMost {
			return nil, false, nil
		}
	}
}

// apartAtMost is how long a caller waits for those of another credential, once one of them has been refused.
const apartAtMost = time.Second

func looking(err error) error { return failure.Closed("looking for a shared answer", err) }
func leasing(err error) error { return failure.Closed("taking the lease", err) }

// released counts a lease that was lost before its holder gave it back; one that the end of the Cache took is none.
func (g *Gate) released(ctx context.Context, err error) {
	if errors.Is(err, lock.ErrLost) && g.o.Life.Err() == nil {
		g.o.Metrics.LockLost(ctx)
		g.o.Log.Warn("a lease was lost while a token was asked for; another instance may have asked too")
	}
}
