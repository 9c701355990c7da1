package lock

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// goroutines are the package's own: those that a Locker started, those of the timers of its leases, and those of its
// bus.
func goroutines() (ours []string) {
	const pkg = "msal-redis-go/lock."
	buf := make([]byte, 1<<20)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		_, creator, _ := strings.Cut(g, "\ncreated by ")
		if strings.Contains(creator, pkg+"(*") ||
			strings.Contains(g, pkg+"(*Lease).renew(") || strings.Contains(g, pkg+"(*Lease).expire(") ||
			strings.Contains(g, "msal-redis-go/internal/bus.(*Bus).") {
			ours = append(ours, g)
		}
	}
	return ours
}

// busy is a locker with everything that has a goroutine: a lease and its renewal, a waiter, a subscriber, and an
// undoing that does not succeed.
func busy(t *testing.T, b *bubbleEnv) (l *Locker, held *Lease, waiter <-chan acquired) {
	l = New(b.client, &Options{PollInterval: time.Hour})
	held = mustTry(t, l, "{k}:lock")
	waiter = goAcquire(t.Context(), l, "{k}:lock")
	sub, err := l.Subscribe(t.Context(), "{s}:lock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	blocked(t, waiter)
	b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
		if is(cmd, releaseScript) {
			return errCut
		}
		err := next()
		if is(cmd, obtainScript) {
			return errCut
		}
		return err
	})
	_, err = l.TryAcquire(t.Context(), "{r}:lock")
	wantErr(t, "TryAcquire", err, errCut)
	synctest.Wait()
	if n := len(goroutines()); n < 2 {
		t.Fatalf("%d goroutines: the test has no point", n)
	}
	return l, held, waiter
}

func TestCloseEndsEveryGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l, held, waiter := busy(t, b)
		start := time.Now()
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wantErr(t, "the waiter", (<-waiter).err, ErrClosed)
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		wantErr(t, "the lease's cause", context.Cause(held.Context()), ErrLost)
		synctest.Wait()
		for _, g := range goroutines() {
			t.Errorf("still there:\n%s", g)
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
		for name, f := range map[string]func() error{
			"TryAcquire": func() error { _, err := l.TryAcquire(t.Context(), "{n}:lock"); return err },
			"Acquire":    func() error { _, err := l.Acquire(t.Context(), "{n}:lock"); return err },
			"Subscribe":  func() error { _, err := l.Subscribe(t.Context(), "{n}:lock"); return err },
		} {
			wantErr(t, name+" afterwards", f(), ErrClosed)
		}
		if b.Exists("{n}:lock") {
			t.Error("a closed Locker has taken a lease")
		}
	})
}

// TestALeaseIsReleasedAfterClose: its holder was at work when the Locker was closed, so Close did not free it.
func TestALeaseIsReleasedAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := New(b.client, nil)
		s := mustTry(t, l, "{k}:lock")
		l.Close()
		if !b.Exists("{k}:lock") {
			t.Error("Close has freed a lease whose holder may be at work")
		}
		wantErr(t, "Release", s.Release(t.Context()), ErrLost)
		if b.Exists("{k}:lock") {
			t.Error("the lease is still there")
		}
	})
}

// TestCloseWhileRedisHangs: at any moment of it Close takes no longer than an operation may, and leaves no goroutine.
func TestCloseWhileRedisHangs(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond, ttl / 3, ttl} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bubbleEnv) {
				l, _, waiter := busy(t, b)
				b.hook.set(func(ctx context.Context, _ redis.Cmder, _ func() error) error {
					<-ctx.Done()
					return ctx.Err()
				})
				attempt := goAcquire(t.Context(), l, "{a}:lock")
				time.Sleep(after)
				start := time.Now()
				if err := l.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if d := time.Since(start); d > 3*l.opts.OpTimeout {
					t.Errorf("it took %v", d)
				}
				if err := (<-attempt).err; err == nil || errors.Is(err, ErrHeld) {
					t.Errorf("the attempt: %v", err)
				}
				if err := (<-waiter).err; err == nil || errors.Is(err, ErrHeld) {
					t.Errorf("the waiter: %v", err)
				}
				synctest.Wait()
				for _, g := range goroutines() {
					t.Errorf("still there:\n%s", g)
				}
			})
		})
	}
}

// TestReleaseNeedsNoPlaceOnceClosed: all places among the operations in flight are taken, and a release waits for one,
// when the Locker is closed. What is left of its life is for freeing leases: it waits for nobody.
func TestReleaseNeedsNoPlaceOnceClosed(t *testing.T) {
	for _, order := range []string{"release, then close", "close, then release"} {
		t.Run(order, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bubbleEnv) {
				places := make(chan struct{}, 1)
				l := New(b.client, &Options{TTL: long, InFlight: places})
				s := mustTry(t, l, "{k}:lock")
				places <- struct{}{} // another's operation, for as long as the test lasts
				released := make(chan error, 1)
				release := func() { go func() { released <- s.Release(t.Context()) }(); synctest.Wait() }
				start := time.Now()
				if order == "release, then close" {
					release()
					l.Close()
				} else {
					l.Close()
					release()
				}
				if err := <-released; err != nil && !errors.Is(err, ErrLost) { // a lease that is still held is lost by Close
					t.Errorf("Release: %v", err)
				}
				if d := time.Since(start); d != 0 {
					t.Errorf("it took %v", d)
				}
				if b.Exists("{k}:lock") {
					t.Error("the lease is left to its TTL")
				}
			})
		})
	}
}
