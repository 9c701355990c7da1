package lock

import (
	"context"
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

// TryAcquire takes the lease of a key or returns [ErrHeld] at once: one Redis operation. It returns within about two
// OpTimeouts whatever Redis does, once it has its place (see [Options.InFlight]), and promptly when ctx ends, with
// ctx's error. Any other error is Redis's. After an error no lease is left behind for longer than TTL: an attempt whose
// outcome is unknown is undone in the background.
//
// The key is used as it is given. Leases, fences and wake-ups of a key meet those of every other process that gives the
// same key; the fence's key and the channel are its siblings (see the package's documentation).
//
// The same goroutine or Locker gets no second lease of a key that it holds.
func (l *Locker) TryAcquire(ctx context.Context, key string) (*Lease, error) {
	n, err := namesOf(key)
	if err != nil {
		return nil, err
	}
	return l.attempt(ctx, n)
}

// Acquire waits for the lease of a key. It returns promptly when ctx ends, with ctx's error, and as soon as Redis
// fails, with Redis's error: it waits for other holders, not for a better server. It never returns [ErrHeld].
//
// A waiter is woken when the holder releases. When the holder was killed, it waits until the lease has run out: TTL at
// most. When the wake-up was lost, or the key evicted, it finds out by looking every PollInterval. There is no queue:
// who comes first after a release has it. All waiters of a Locker share one connection.
func (l *Locker) Acquire(ctx context.Context, key string) (*Lease, error) {
	n, err := namesOf(key)
	if err != nil {
		return nil, err
	}
	lease, err := l.attempt(ctx, n)
	if !errors.Is(err, ErrHeld) {
		return lease, err
	}
	sub, err := l.subscribe(ctx, n)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	for {
		// Once subscribed, try again: the release may have been published between the first attempt and the subscription.
		lease, err := l.attempt(ctx, n)
		if !errors.Is(err, ErrHeld) {
			return lease, err
		}
		if err := l.waitUntilFree(ctx, n, sub); err != nil {
			return nil, err
		}
	}
}

// waitUntilFree returns when an attempt is worth while: after a wake-up, or after finding that there is no lease.
func (l *Locker) waitUntilFree(ctx context.Context, n names, sub *Subscription) error {
	for {
		left, err := l.remaining(ctx, n)
		if err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		// Half to one and a half of PollInterval, so that the waiters of a fleet do not come all at once; but no longer than
		// the lease lives.
		wait := min(left, l.opts.PollInterval/2+mrand.N(l.opts.PollInterval))
		timer := time.NewTimer(wait)
		select {
		case <-sub.C():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ended(ctx)
		case <-l.ctx.Done():
			timer.Stop()
			return ErrClosed
		}
	}
}

// remaining is how long to wait at most for the present lease to run out; 0: there is none.
func (l *Locker) remaining(ctx context.Context, n names) (time.Duration, error) {
	ms, err := run(l, ctx, l.opts.OpTimeout, func(ctx context.Context) (int64, error) {
		return remainingScript.Run(ctx, l.client, []string{n.lease}).Int64()
	}, nil)
	switch {
	case err != nil:
		return 0, l.explain(ctx, "look", err)
	case ms == -2:
		return 0, nil
	case ms < 0:
		return l.opts.TTL, nil // no lease of ours: nothing to wait for but its deletion
	default:
		return time.Duration(ms+1) * time.Millisecond, nil // Redis rounds down, and a key lives through its last millisecond
	}
}

// attempt tries once. Its token is ours, made before anything is sent: so an attempt that ended in an error, and
// perhaps took effect, can be undone; and go-redis's retry of an EVALSHA whose answer it lost finds the lease taken by
// the same token, which counts as obtained.
func (l *Locker) attempt(ctx context.Context, n names) (*Lease, error) {
	token := rand.Text()
	// Redis has one OpTimeout. The rest is for this process, which in a burst waits for a processor for longer than Redis
	// takes: an answer that has come counts.
	got, err := run(l, ctx, 2*l.opts.OpTimeout, func(ctx context.Context) (obtained, error) {
		got, err := l.obtain(ctx, n, token)
		if err != nil && !errors.Is(err, ErrHeld) {
			l.abandon(n, token)
		}
		return got, err
	}, func(_ obtained, err error) { // nobody is there to take it
		if err == nil {
			l.abandon(n, token)
		}
	})
	if err != nil {
		return nil, l.explain(ctx, "acquire", err)
	}
	lease := newLease(ctx, l, n, token, got)
	switch {
	case !l.hold(lease):
		l.abandon(n, token)
		lease.lose("the Locker was closed")
		return nil, ErrClosed
	case !lease.arm():
		lease.lose("its time was over before it was ours")
		l.abandon(n, token)
		return nil, broken("acquire", os.ErrDeadlineExceeded)
	}
	return lease, nil
}

type obtained struct {
	fence int64
	start time.Time // the trust window begins before the request is sent
}

// obtain takes the lease and draws its fence.
func (l *Locker) obtain(ctx context.Context, n names, token string) (obtained, error) {
	keys := []string{n.lease, n.fence}
	if l.opts.Unfenced {
		keys = keys[:1]
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, l.opts.OpTimeout)
	defer cancel()
	fence, err := obtainScript.Run(ctx, l.client, keys, token, l.opts.TTL.Milliseconds(), fenceLife.Milliseconds()).Int64()
	if errors.Is(err, redis.Nil) {
		err = ErrHeld
	}
	return obtained{fence, start}, err
}

// fenceLife is how long the last number is remembered. Numbers come from the server's clock; the memory is for the case
// that the clock is set back, or that after a failover the other server's clock is behind: by up to an hour.
const fenceLife = time.Hour

// explain gives an error its place among ours, ctx's and Redis's.
func (l *Locker) explain(ctx context.Context, what string, err error) error {
	switch {
	case errors.Is(err, ErrHeld), errors.Is(err, ErrClosed):
		return err
	case ctx.Err() != nil:
		return ended(ctx)
	default:
		return broken(what, err)
	}
}
