package lock

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// blocked has a waiter go as far as it goes, and fails if that is to the end.
func blocked(t *testing.T, waiter <-chan acquired) {
	t.Helper()
	synctest.Wait()
	select {
	case a := <-waiter:
		t.Fatalf("Acquire returned while the lease was held: %v", a.err)
	default:
	}
}

// TestAcquireIsWokenByRelease: by the message alone. The clock stands still from the release on, and a look would be
// minutes away.
func TestAcquireIsWokenByRelease(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		slow := &Options{TTL: long, PollInterval: time.Hour}
		holder, other := open(t, b.client, slow), open(t, b.client, slow)
		defer holder.Close()
		defer other.Close()
		s := mustTry(t, holder, "{k}:lock")
		waiter := goAcquire(t.Context(), other, "{k}:lock")
		b.pass(time.Second)
		blocked(t, waiter)
		released := time.Now()
		mustRelease(t, s)
		next := (<-waiter).must(t)
		if d := time.Since(released); d != 0 {
			t.Errorf("it has waited %v longer", d)
		}
		if next.Fence() <= s.Fence() {
			t.Errorf("fence %d after %d", next.Fence(), s.Fence())
		}
		mustRelease(t, next)
	})
}

// TestARealRedisWakesTheWaiters: many of them, one after another.
func TestARealRedisWakesTheWaiters(t *testing.T) {
	s := redistest.Start(t)
	slow := &Options{TTL: long, PollInterval: time.Hour}
	key := lockKey(t)
	held := mustTry(t, open(t, s.Client(), slow), key)
	// a look comes after a minute, when the lease would have run out
	ctx, cancel := context.WithTimeout(t.Context(), long/4)
	defer cancel()
	var waiters []<-chan acquired
	for range 3 {
		l := open(t, s.Client(), slow)
		for range 4 {
			waiter := make(chan acquired, 1)
			go func() {
				lease, err := l.Acquire(ctx, key)
				if err == nil {
					err = lease.Release(ctx)
				}
				waiter <- acquired{lease, err}
			}()
			waiters = append(waiters, waiter)
		}
	}
	n, _ := namesOf(key)
	eventually(t, "all three to subscribe", func() error {
		if got := s.Do("PUBSUB", "NUMSUB", n.channel).([]any); got[1] != int64(3) {
			return errors.New("not yet")
		}
		return nil
	})
	mustRelease(t, held)
	for _, waiter := range waiters {
		(<-waiter).must(t)
	}
}

// deaf loses every message that is published; all else arrives.
type deaf struct {
	net.Conn
	lost *atomic.Int32
}

func (d deaf) Read(p []byte) (int, error) {
	for {
		n, err := d.Conn.Read(p)
		if err != nil || !bytes.Contains(p[:n], []byte("\r\nmessage\r\n")) {
			return n, err
		}
		d.lost.Add(1)
	}
}

func TestAcquireLooksWhenTheMessageIsLost(t *testing.T) {
	const poll = 2 * time.Second
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		var lost atomic.Int32
		b.wrap = func(c net.Conn) net.Conn { return deaf{c, &lost} }
		opts := &Options{TTL: long, PollInterval: poll}
		holder, other := open(t, b.client, opts), open(t, b.client, opts)
		defer holder.Close()
		defer other.Close()
		s := mustTry(t, holder, "{k}:lock")
		waiter := goAcquire(t.Context(), other, "{k}:lock")
		b.pass(5 * poll)
		blocked(t, waiter)
		released := time.Now()
		mustRelease(t, s)
		blocked(t, waiter)
		if lost.Load() != 1 {
			t.Fatalf("%d messages were lost", lost.Load())
		}
		mustRelease(t, (<-waiter).must(t))
		if d := time.Since(released); d > poll*3/2 {
			t.Errorf("found out after %v", d)
		}
	})
}

// TestAcquireLooksWhenTheLeaseHasRunOut: a lease that nobody renews. The waiter comes back when it has run out,
// whatever the interval.
func TestAcquireLooksWhenTheLeaseHasRunOut(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, &Options{TTL: ttl, PollInterval: time.Hour})
		defer l.Close()
		b.Set("{k}:lock", "of one who was killed")
		b.SetTTL("{k}:lock", ttl)
		start := time.Now()
		waiter := goAcquire(t.Context(), l, "{k}:lock")
		b.pass(ttl - 20*time.Millisecond)
		blocked(t, waiter)
		b.pass(20 * time.Millisecond)
		mustRelease(t, (<-waiter).must(t))
		if d := time.Since(start); d > ttl+20*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

// TestAcquireWithoutLeaveToSubscribe: nor to publish.
func TestAcquireWithoutLeaveToSubscribe(t *testing.T) {
	_, _, limited := redistest.StartACL(t, "~msal:* resetchannels +@all -subscribe -publish")
	h := &hook{}
	limited.AddHook(h)
	l := open(t, limited, &Options{TTL: long, PollInterval: 20 * time.Millisecond})
	key := lockKey(t)
	s := mustTry(t, l, key)
	found := make(chan struct{}, 1)
	h.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
		err := next()
		if is(cmd, remainingScript) && err == nil {
			select {
			case found <- struct{}{}:
			default:
			}
		}
		return err
	})
	waiter := goAcquire(t.Context(), l, key)
	select {
	case <-found: // it waits for another's lease
	case <-time.After(bound):
		t.Fatal("the waiter has not looked")
	}
	mustRelease(t, s)
	select {
	case a := <-waiter:
		mustRelease(t, a.must(t))
	case <-time.After(bound):
		t.Fatal("still waiting")
	}
}

func TestAcquireEndsWithItsContext(t *testing.T) {
	why := errors.New("the request was answered otherwise")
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, &Options{TTL: long, PollInterval: time.Hour})
		defer l.Close()
		s := mustTry(t, l, "{k}:lock")

		ctx, cancel := context.WithCancelCause(t.Context())
		waiter := goAcquire(ctx, l, "{k}:lock")
		b.pass(time.Second)
		blocked(t, waiter)
		start := time.Now()
		cancel(why)
		a := <-waiter
		wantErr(t, "cancelled", a.err, context.Canceled)
		wantErr(t, "cancelled", a.err, why)

		late, cancelLate := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancelLate()
		_, err := l.Acquire(late, "{k}:lock")
		wantErr(t, "timed out", err, context.DeadlineExceeded)
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("both took %v", d)
		}

		mustRelease(t, s)
		synctest.Wait()
		if b.Exists("{k}:lock") {
			t.Error("a waiter that left has taken the lease")
		}
	})
}

// TestAcquireEndsWithItsContextWhileRedisHangs: at every command that an Acquire sends. What Redis does with it
// afterwards leaves no lease.
func TestAcquireEndsWithItsContextWhileRedisHangs(t *testing.T) {
	for _, test := range []struct {
		held bool // by another: obtain, obtain again and look
		at   int
	}{{false, 1}, {true, 1}, {true, 2}, {true, 3}} {
		bubble(t, func(t *testing.T, b *bubbleEnv) {
			l := open(t, b.client, nil)
			defer l.Close()
			mustRelease(t, mustTry(t, l, "{k}:lock"))
			if test.held {
				b.Set("{k}:lock", "another's")
			}
			commands := 0
			hanging := make(chan struct{})
			b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
				if commands++; commands != test.at {
					return next()
				}
				close(hanging)
				time.Sleep(100 * time.Millisecond)
				return next()
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			waiter := goAcquire(ctx, l, "{k}:lock")
			<-hanging
			start := time.Now()
			cancel()
			a := <-waiter
			wantErr(t, "Acquire", a.err, context.Canceled)
			if d := time.Since(start); d != 0 {
				t.Errorf("command %d: it took %v", test.at, d)
			}
			b.pass(time.Second)
			if v, _ := b.Get("{k}:lock"); v != "" && v != "another's" {
				t.Errorf("command %d: a lease is left", test.at)
			}
		})
	}
}

// TestAcquireReturnsWhenRedisFails: it waits for other holders, not for a better server; and what it says is neither
// busy nor the context's end.
func TestAcquireReturnsWhenRedisFails(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, &Options{TTL: long, PollInterval: time.Second})
		defer l.Close()
		b.Set("{k}:lock", "another's")
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		waiter := goAcquire(ctx, l, "{k}:lock")
		b.pass(5 * time.Second)
		blocked(t, waiter)
		b.hook.set(func(ctx context.Context, _ redis.Cmder, _ func() error) error {
			<-ctx.Done()
			return ctx.Err()
		})
		start := time.Now()
		a := <-waiter
		wantErr(t, "Acquire", a.err, os.ErrDeadlineExceeded)
		if errors.Is(a.err, context.DeadlineExceeded) || errors.Is(a.err, ErrHeld) ||
			!strings.HasPrefix(a.err.Error(), "lock: ") {
			t.Errorf("error %v", a.err)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// A lease costs one operation. Without a fence it leaves nothing behind but itself.
func TestLeaseCostsOneOperation(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		var sent int
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			err := next()
			if strings.HasPrefix(cmd.Name(), "eval") && !redis.HasErrorPrefix(err, "NOSCRIPT") {
				sent++
			}
			return err
		})
		for _, unfenced := range []bool{false, true} {
			l := open(t, b.client, &Options{TTL: long, Unfenced: unfenced})
			sent = 0
			lease := mustTry(t, l, "{k}:lock")
			if sent != 1 || (lease.Fence() == 0) != unfenced {
				t.Errorf("unfenced %v: %d operations; the fence is %d", unfenced, sent, lease.Fence())
			}
			if _, err := l.TryAcquire(t.Context(), "{k}:lock"); !errors.Is(err, ErrHeld) {
				t.Errorf("unfenced %v: a second lease: %v", unfenced, err)
			}
			if b.Exists("{k}:fence") == unfenced {
				t.Errorf("unfenced %v: whether the fence's key is there", unfenced)
			}
			mustRelease(t, lease)
			b.Del("{k}:fence")
			_ = l.Close()
		}
	})
}

// TestAnAnswerThatHasComeCounts: Redis has answered in time, and the process had no processor for a while.
func TestAnAnswerThatHasComeCounts(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, nil)
		defer l.Close()
		mustRelease(t, mustTry(t, l, "{k}:lock"))
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			err := next()
			if is(cmd, obtainScript) {
				time.Sleep(l.opts.OpTimeout * 3 / 2)
			}
			return err
		})
		mustRelease(t, mustTry(t, l, "{k}:lock"))
	})
}
