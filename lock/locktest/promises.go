package locktest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

type promise struct {
	name string
	f    func(*env) error
}

var promises = []promise{
	{"OneHolderAtATime", oneHolderAtATime},
	{"TryAcquireReturnsErrHeld", tryAcquireReturnsErrHeld},
	{"KeysAreIndependent", keysAreIndependent},
	{"AHeldLeaseIsRenewed", aHeldLeaseIsRenewed},
	{"ReleaseFrees", releaseFrees},
	{"ReleaseWakesTheWaiter", releaseWakesTheWaiter},
	{"ReleaseDespiteACancelledContext", releaseDespiteACancelledContext},
	{"ASecondReleaseDoesNothing", aSecondReleaseDoesNothing},
	{"FencesGrow", fencesGrow},
	{"FencesGrowAfterEviction", fencesGrowAfterEviction},
	{"ALostLeaseSaysSo", aLostLeaseSaysSo},
	{"NobodyFreesAnothersLease", nobodyFreesAnothersLease},
	{"ACancelledWaiterReturnsItsContextsError", aCancelledWaiter},
	{"ADeadContextTakesNoLease", aDeadContextTakesNoLease},
	{"TheContextOutlivesAcquires", theContextOutlivesAcquires},
	{"TheContextEndsWithRelease", theContextEndsWithRelease},
}

// oneHolderAtATime shows exclusion by what it is for: a read-modify-write that loses updates if two do it at once. Load
// and Store are atomic, so that a broken lock fails this check and not the race detector.
func oneHolderAtATime(e *env) error {
	const lockers, goroutines, turns = 3, 4, 5
	key := e.Key()
	var counter, inside atomic.Int64
	var lastFence int64 // guarded by the lock under test; see below
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make(chan error, lockers*goroutines)
	for range lockers {
		l, err := e.open()
		if err != nil {
			return err
		}
		for range goroutines {
			wg.Go(func() {
				for range turns {
					lease, err := l.Acquire(e.ctx, key)
					if err != nil {
						errs <- fmt.Errorf("Acquire: %w", err)
						return
					}
					v := counter.Load()
					if n := inside.Add(1); n > 1 {
						errs <- fmt.Errorf("%d holders at once", n)
						inside.Add(-1)
						_ = lease.Release(e.ctx)
						return
					}
					for range 100 {
						runtime.Gosched()
					}
					mu.Lock() // for the race detector, which does not know the lock under test
					if lease.Fence() <= lastFence {
						err = fmt.Errorf("fence %d after %d", lease.Fence(), lastFence)
					}
					lastFence = lease.Fence()
					mu.Unlock()
					inside.Add(-1)
					counter.Store(v + 1)
					if err := errors.Join(err, lease.Release(e.ctx)); err != nil {
						errs <- err
						return
					}
				}
			})
		}
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	if n := counter.Load(); n != lockers*goroutines*turns {
		return fmt.Errorf("%d of %d updates survived", n, lockers*goroutines*turns)
	}
	return nil
}

func tryAcquireReturnsErrHeld(e *env) error {
	a, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	return errors.Join(
		e.wantHeld(a, key, "held by the same locker"),
		e.wantHeld(b, key, "held by another locker"),
		held.Release(e.ctx))
}

func keysAreIndependent(e *env) error {
	_, b, _, held, err := e.two()
	if err != nil {
		return err
	}
	return errors.Join(e.wantFree(b, e.Key(), "another key"), held.Release(e.ctx))
}

func aHeldLeaseIsRenewed(e *env) error {
	_, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < 2*e.TTL; {
		if err := e.wantHeld(b, key, fmt.Sprintf("after %v of holding", time.Since(begin))); err != nil {
			return err
		}
		select { // an attempt now and then will do
		case <-held.Context().Done():
			return fmt.Errorf("the lease's context ended: %w", context.Cause(held.Context()))
		case <-time.After(e.TTL / 20):
		}
	}
	return held.Release(e.ctx)
}

func releaseFrees(e *env) error {
	a, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	if err := held.Release(e.ctx); err != nil {
		return fmt.Errorf("Release: %w", err)
	}
	return errors.Join(e.wantFree(b, key, "after Release"), e.wantFree(a, key, "after another's Release"))
}

func releaseWakesTheWaiter(e *env) error {
	_, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	type result struct {
		lease Lease
		err   error
	}
	got := make(chan result, 1)
	go func() {
		l, err := b.Acquire(e.ctx, key)
		got <- result{l, err}
	}()
	// It cannot be seen from here when Acquire has begun to wait; a tenth of TTL is meant for it, and if it is not enough,
	// Acquire finds the lease free, which is no less right.
	select {
	case r := <-got:
		return fmt.Errorf("Acquire returned (%v) while the lease was held", r.err)
	case <-time.After(e.TTL / 10):
	}
	if err := held.Release(e.ctx); err != nil {
		return fmt.Errorf("Release: %w", err)
	}
	select {
	case r := <-got:
		if r.err != nil {
			return fmt.Errorf("Acquire: %w", r.err)
		}
		return r.lease.Release(e.ctx)
	case <-time.After(e.TTL / 2):
		r := <-got
		err := errors.New("the waiter was not woken within half a TTL of the release")
		if r.err == nil {
			err = errors.Join(err, r.lease.Release(e.ctx))
		}
		return err
	}
}

func releaseDespiteACancelledContext(e *env) error {
	_, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	if err := held.Release(ctx); err != nil {
		return fmt.Errorf("Release with a cancelled context: %w", err)
	}
	return e.wantFree(b, key, "after a Release with a cancelled context")
}

func aSecondReleaseDoesNothing(e *env) error {
	a, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	if err := held.Release(e.ctx); err != nil {
		return fmt.Errorf("Release: %w", err)
	}
	next, err := b.TryAcquire(e.ctx, key)
	if err != nil {
		return fmt.Errorf("after Release: TryAcquire: %w", err)
	}
	if err := held.Release(e.ctx); err != nil {
		return fmt.Errorf("a second Release: %w", err)
	}
	return errors.Join(e.wantHeld(a, key, "after the former holder's second Release"), next.Release(e.ctx))
}

func fencesGrow(e *env) error { return growing(e, func(string) error { return nil }) }

func fencesGrowAfterEviction(e *env) error {
	return growing(e, func(key string) error { return e.Evict(e.ctx, key) })
}

// growing takes turns between two lockers.
func growing(e *env, between func(key string) error) error {
	a, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	for i := range 20 {
		last := held.Fence()
		if err := between(key); err != nil {
			return err
		}
		if err := held.Release(e.ctx); err != nil && !errors.Is(err, e.ErrLost) {
			return fmt.Errorf("Release: %w", err)
		}
		next := a
		if i%2 == 0 {
			next = b
		}
		if held, err = next.TryAcquire(e.ctx, key); err != nil {
			return fmt.Errorf("TryAcquire: %w", err)
		}
		if held.Fence() <= last {
			return errors.Join(fmt.Errorf("fence %d after %d", held.Fence(), last), held.Release(e.ctx))
		}
	}
	return held.Release(e.ctx)
}

func aLostLeaseSaysSo(e *env) error {
	_, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	if err := e.Evict(e.ctx, key); err != nil {
		return fmt.Errorf("Evict: %w", err)
	}
	select {
	case <-held.Context().Done():
		if cause := context.Cause(held.Context()); !errors.Is(cause, e.ErrLost) {
			err = fmt.Errorf("the context ended with cause %q, not ErrLost", cause)
		}
	case <-time.After(e.TTL + e.TTL/4): // TTL is the promise, the rest is the machine's
		err = errors.New("the context did not end within TTL of the eviction")
	}
	if relErr := held.Release(e.ctx); !errors.Is(relErr, e.ErrLost) || errors.Is(relErr, e.ErrHeld) {
		err = errors.Join(err, fmt.Errorf("Release returned %v, not ErrLost", relErr))
	}
	return errors.Join(err, e.wantFree(b, key, "after the loss"))
}

func nobodyFreesAnothersLease(e *env) error {
	a, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	if err := e.Evict(e.ctx, key); err != nil {
		return fmt.Errorf("Evict: %w", err)
	}
	next, err := b.TryAcquire(e.ctx, key)
	if err != nil {
		return fmt.Errorf("after the eviction: TryAcquire: %w", err)
	}
	if relErr := held.Release(e.ctx); !errors.Is(relErr, e.ErrLost) {
		err = fmt.Errorf("Release of a lease that another has: %v, not ErrLost", relErr)
	}
	err = errors.Join(err, e.wantHeld(a, key, "after the former holder's Release"))
	if next.Context().Err() != nil {
		err = errors.Join(err, errors.New("the new holder's context ended"))
	}
	return errors.Join(err, next.Release(e.ctx))
}

func aCancelledWaiter(e *env) error {
	a, b, key, held, err := e.two()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	got := make(chan error, 1)
	go func() {
		l, err := b.Acquire(ctx, key)
		if err == nil {
			err = errors.Join(errors.New("Acquire got the lease that is held"), l.Release(e.ctx))
		}
		got <- err
	}()
	select {
	case err := <-got:
		return fmt.Errorf("before the cancellation: %w", err)
	case <-time.After(e.TTL / 10):
	}
	cancel()
	select {
	case err := <-got:
		if !errors.Is(err, context.Canceled) || errors.Is(err, e.ErrHeld) {
			return fmt.Errorf("Acquire returned %q, not the context's error", err)
		}
	case <-time.After(e.TTL / 2):
		_ = held.Release(e.ctx) // lets the waiter go
		return errors.New("Acquire did not return within half a TTL of the cancellation")
	}
	if err := held.Release(e.ctx); err != nil {
		return fmt.Errorf("Release: %w", err)
	}
	return e.wantFree(a, key, "after the waiter left and the holder released")
}

func aDeadContextTakesNoLease(e *env) error {
	l, err := e.open()
	if err != nil {
		return err
	}
	key := e.Key()
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	if _, err := l.TryAcquire(ctx, key); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("TryAcquire: %v, not context.Canceled", err)
	}
	if _, err := l.Acquire(ctx, key); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("Acquire: %v, not context.Canceled", err)
	}
	return e.wantFree(l, key, "after attempts with a dead context")
}

func theContextOutlivesAcquires(e *env) error {
	l, err := e.open()
	if err != nil {
		return err
	}
	type name struct{}
	ctx, cancel := context.WithCancel(context.WithValue(e.ctx, name{}, "v"))
	defer cancel()
	held, err := l.Acquire(ctx, e.Key())
	if err != nil {
		return fmt.Errorf("Acquire: %w", err)
	}
	cancel()
	if held.Context().Err() != nil {
		err = errors.New("the lease's context ended with Acquire's")
	}
	if _, ok := held.Context().Deadline(); ok {
		err = errors.Join(err, errors.New("the lease's context has a deadline"))
	}
	if held.Context().Value(name{}) != "v" {
		err = errors.Join(err, errors.New("the lease's context has lost the values of Acquire's"))
	}
	return errors.Join(err, held.Release(e.ctx))
}

func theContextEndsWithRelease(e *env) error {
	_, _, _, held, err := e.two()
	if err != nil {
		return err
	}
	if held.Context().Err() != nil {
		return errors.New("the context of a held lease has ended")
	}
	if err := held.Release(e.ctx); err != nil {
		return fmt.Errorf("Release: %w", err)
	}
	if held.Context().Err() == nil {
		return errors.New("the context lives on after Release")
	}
	if errors.Is(context.Cause(held.Context()), e.ErrLost) {
		return errors.New("a released lease says that it was lost")
	}
	return nil
}
