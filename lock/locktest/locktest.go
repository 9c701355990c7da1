// Package locktest holds a lock to its promises: the suite that package lock passes, for whoever has a lock of another
// make (or another Redis) and wants to know whether it can stand in.
//
//	func TestConformance(t *testing.T) {
//		locktest.Run(t, locktest.Harness{ ... })
//	}
//
// Each promise is a subtest of [Run]. None sleeps for luck: where a promise is about time, the suite waits for the
// event, and up to the bounds that [Harness.TTL] gives.
package locktest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// Lease is what is held. *lock.Lease is one.
type Lease interface {
	Context() context.Context
	Fence() int64
	Release(ctx context.Context) error
}

// Locker is what is tested; see [Adapt].
type Locker interface {
	TryAcquire(ctx context.Context, key string) (Lease, error)
	Acquire(ctx context.Context, key string) (Lease, error)
}

// Adapt makes a Locker of a type whose methods return a concrete lease, as *lock.Locker's do.
func Adapt[L Lease](l interface {
	TryAcquire(ctx context.Context, key string) (L, error)
	Acquire(ctx context.Context, key string) (L, error)
}) Locker {
	return adapted[L]{l.TryAcquire, l.Acquire}
}

type adapted[L Lease] struct {
	try, wait func(context.Context, string) (L, error)
}

func (a adapted[L]) TryAcquire(ctx context.Context, key string) (Lease, error) {
	return lease(a.try(ctx, key))
}

func (a adapted[L]) Acquire(ctx context.Context, key string) (Lease, error) {
	return lease(a.wait(ctx, key))
}

func lease[L Lease](l L, err error) (Lease, error) {
	if err != nil {
		return nil, err // not a nil pointer in an interface that is not nil
	}
	return l, nil
}

// Harness connects the suite to an implementation. Every field is needed.
type Harness struct {
	// Open makes a Locker that shares nothing with the others but the server, as if in a process of its own. The suite
	// calls close when it is done with it and has released what it took.
	Open func() (l Locker, close func() error, err error)

	// Key returns a key that was not used before.
	Key func() string

	// Evict takes the lease of a key away, as a server short of memory does: without telling anybody.
	Evict func(ctx context.Context, key string) error

	// ErrHeld and ErrLost are what the implementation says (by errors.Is) when it is busy and when a lease is lost.
	ErrHeld, ErrLost error

	// TTL is how long the leases of the implementation live unless renewed. A loss is noticed within it. The suite waits
	// for twice as long in one place, and takes half of it for the difference between woken and not woken: a second is
	// good.
	TTL time.Duration
}

// Run holds an implementation to every promise, each in a subtest of its own.
func Run(t *testing.T, h Harness) {
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			if err := p.check(h); err != nil {
				t.Error(err)
			}
		})
	}
}

// check runs one promise with an environment of its own.
func (p promise) check(h Harness) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second+4*h.TTL)
	defer cancel()
	e := &env{Harness: h, ctx: ctx}
	defer func() {
		for _, f := range e.closers {
			err = errors.Join(err, f())
		}
	}()
	return p.f(e)
}

type env struct {
	Harness
	ctx     context.Context
	closers []func() error
}

func (e *env) open() (Locker, error) {
	l, closer, err := e.Open()
	if err != nil {
		return nil, fmt.Errorf("Open: %w", err)
	}
	e.closers = append(e.closers, closer)
	return l, nil
}

// two opens two lockers and takes the lease of a new key with the first.
func (e *env) two() (a, b Locker, key string, held Lease, err error) {
	if a, err = e.open(); err != nil {
		return
	}
	if b, err = e.open(); err != nil {
		return
	}
	key = e.Key()
	if held, err = a.TryAcquire(e.ctx, key); err != nil {
		err = fmt.Errorf("a fresh key: TryAcquire: %w", err)
	}
	return
}

func (e *env) wantHeld(l Locker, key, when string) error {
	lease, err := l.TryAcquire(e.ctx, key)
	if err == nil {
		return errors.Join(fmt.Errorf("%s: TryAcquire granted a second lease", when), lease.Release(e.ctx))
	}
	if !errors.Is(err, e.ErrHeld) || errors.Is(err, e.ErrLost) {
		return fmt.Errorf("%s: TryAcquire returned %q, not ErrHeld", when, err)
	}
	if lease != nil {
		return fmt.Errorf("%s: TryAcquire returned a lease with its error", when)
	}
	return nil
}

// wantFree takes the lease and gives it back.
func (e *env) wantFree(l Locker, key, when string) error {
	lease, err := l.TryAcquire(e.ctx, key)
	if err != nil {
		return fmt.Errorf("%s: TryAcquire: %w", when, err)
	}
	if err := lease.Release(e.ctx); err != nil {
		return fmt.Errorf("%s: Release: %w", when, err)
	}
	return nil
}
