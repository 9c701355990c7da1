package lock

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// bubble runs f under a clock of its own, with a Redis in memory at the end of net.Pipes. That Redis lets nothing
// expire by itself: pass lets the time go by for both.
func bubble(t *testing.T, f func(t *testing.T, b *bubbleEnv)) {
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		b := &bubbleEnv{Miniredis: m, hook: &hook{}}
		b.client = redis.NewClient(&redis.Options{
			Dialer:                   func(context.Context, string, string) (net.Conn, error) { return b.dial() },
			Addr:                     "127.0.0.1:1", // an address, and no feature that looks one up: that would be a socket
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			MaxRetries:               -1,
			DisableIdentity:          true,
			ContextTimeoutEnabled:    true,
		})
		b.client.AddHook(b.hook)
		defer m.Close()
		defer b.client.Close()
		f(t, b)
	})
}

type bubbleEnv struct {
	*miniredis.Miniredis
	client *redis.Client
	hook   *hook
	wrap   func(net.Conn) net.Conn
}

func (b *bubbleEnv) dial() (net.Conn, error) {
	c, err := b.Dial()
	if err == nil && b.wrap != nil {
		c = b.wrap(c)
	}
	return c, err
}

func (b *bubbleEnv) pass(d time.Duration) {
	const step = 10 * time.Millisecond
	for ; d > 0; d -= step {
		time.Sleep(min(d, step))
		synctest.Wait()
		b.FastForward(min(d, step))
	}
}

const ttl = 5 * time.Second // and so renewals at 1.67 s, and trust for 4.5 s

func TestAHeldLeaseIsRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, nil)
		defer l.Close()
		s := mustTry(t, l, "{k}:lock")
		for range 10 {
			b.pass(ttl)
			if s.Context().Err() != nil {
				t.Fatalf("lost: %v", context.Cause(s.Context()))
			}
			if left := b.TTL("{k}:lock"); left < 2*ttl/3-100*time.Millisecond {
				t.Fatalf("%v left in Redis", left)
			}
		}
		mustRelease(t, s)
		if b.Exists("{k}:lock") {
			t.Error("the lease is still there")
		}
	})
}

// TestTrustCountsFromTheStartOfTheAttempt: Redis answers the attempt late, then fails for good. The lease must not be
// trusted longer for that the answer was late.
func TestTrustCountsFromTheStartOfTheAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, nil)
		defer l.Close()
		mustRelease(t, mustTry(t, l, "{k}:lock")) // loads the scripts: one command each from here on
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			if is(cmd, renewScript) {
				return errors.New("down")
			}
			err := next()
			time.Sleep(200 * time.Millisecond)
			return err
		})
		start := time.Now()
		s := mustTry(t, l, "{k}:lock")
		if d := time.Since(start); d != 200*time.Millisecond {
			t.Fatalf("the attempt took %v", d)
		}
		<-s.Context().Done()
		if d := time.Since(start); d != ttl-ttl/10 {
			t.Errorf("trusted for %v", d)
		}
		cause := context.Cause(s.Context())
		if !errors.Is(cause, ErrLost) || !strings.Contains(cause.Error(), "down") {
			t.Errorf("cause %v", cause)
		}
		wantErr(t, "Release", s.Release(t.Context()), ErrLost)
	})
}

// TestARenewalCountsFromItsStart: the same for the answer to a renewal.
func TestARenewalCountsFromItsStart(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, nil)
		defer l.Close()
		var renewed time.Time
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			if !is(cmd, renewScript) {
				return next()
			}
			if !renewed.IsZero() {
				return errors.New("down")
			}
			renewed = time.Now()
			err := next()
			time.Sleep(200 * time.Millisecond)
			return err
		})
		start := time.Now()
		s := mustTry(t, l, "{k}:lock")
		<-s.Context().Done()
		if d := renewed.Sub(start); d != ttl/3 {
			t.Errorf("renewed after %v", d)
		}
		if d := time.Since(renewed); d != ttl-ttl/10 {
			t.Errorf("trusted for %v after the start of the renewal", d)
		}
	})
}

func TestAFailedRenewalIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, nil)
		defer l.Close()
		failures := 0
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			if is(cmd, renewScript) && failures < 8 {
				failures++
				return errors.New("READONLY")
			}
			return next()
		})
		s := mustTry(t, l, "{k}:lock")
		b.pass(3 * ttl)
		if failures != 8 || s.Context().Err() != nil {
			t.Errorf("%d failures, then %v", failures, context.Cause(s.Context()))
		}
		mustRelease(t, s)
	})
}

// TestARenewalThatHangsDoesNotOutliveTheTrust: it is bounded, and tried again, and then the lease is lost.
func TestARenewalThatHangsDoesNotOutliveTheTrust(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, nil)
		defer l.Close()
		tries := 0
		b.hook.set(func(ctx context.Context, cmd redis.Cmder, next func() error) error {
			if is(cmd, renewScript) {
				tries++
				<-ctx.Done()
				return ctx.Err()
			}
			return next()
		})
		start := time.Now()
		s := mustTry(t, l, "{k}:lock")
		<-s.Context().Done()
		if d := time.Since(start); d != ttl-ttl/10 || tries < 3 {
			t.Errorf("lost after %v and %d renewals", d, tries)
		}
		if !b.Exists("{k}:lock") {
			t.Error("a lease whose holder may be at work was deleted")
		}
		b.hook.set(func(_ context.Context, _ redis.Cmder, next func() error) error { return next() })
		wantErr(t, "Release", s.Release(t.Context()), ErrLost)
		synctest.Wait()
		if b.Exists("{k}:lock") {
			t.Error("Release of the lost lease has left it to the others to wait for")
		}
	})
}

func TestAnEvictedLeaseIsLostAtTheNextRenewal(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, nil)
		defer l.Close()
		start := time.Now()
		s := mustTry(t, l, "{k}:lock")
		b.Del("{k}:lock")
		<-s.Context().Done()
		if d := time.Since(start); d != ttl/3 {
			t.Errorf("noticed after %v", d)
		}
		wantErr(t, "cause", context.Cause(s.Context()), ErrLost)
		wantErr(t, "Release", s.Release(t.Context()), ErrLost)
	})
}

// TestAnAttemptThatTookTooLongIsNoLease: both answers come within their bounds, but together after the trust is over.
func TestAnAttemptThatTookTooLongIsNoLease(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, &Options{TTL: time.Second, OpTimeout: time.Second})
		defer l.Close()
		if l.opts.OpTimeout != time.Second/4 {
			t.Fatalf("OpTimeout %v", l.opts.OpTimeout)
		}
		l.opts.OpTimeout = time.Second // what the cap on OpTimeout prevents
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			err := next()
			if !is(cmd, releaseScript) {
				time.Sleep(500 * time.Millisecond)
			}
			return err
		})
		_, err := l.TryAcquire(t.Context(), "{k}:lock")
		wantErr(t, "TryAcquire", err, os.ErrDeadlineExceeded)
		synctest.Wait()
		if b.Exists("{k}:lock") {
			t.Error("the lease is still there")
		}
	})
}

// TestALateReleaseKnowsThatTheLeaseIsLost: the process was stopped and goes on with Release, before any timer has run.
func TestALateReleaseKnowsThatTheLeaseIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, nil)
		defer l.Close()
		s := mustTry(t, l, "{k}:lock")
		s.mu.Lock()
		s.stop()
		s.mu.Unlock()
		time.Sleep(ttl)
		wantErr(t, "Release", s.Release(t.Context()), ErrLost)
		wantErr(t, "cause", context.Cause(s.Context()), ErrLost)
	})
}

func TestASecondReleaseDoesNothing(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), nil)
	key := lockKey(t)
	first := mustTry(t, l, key)
	mustRelease(t, first)
	mustTry(t, l, key)
	if err := first.Release(t.Context()); err != nil {
		t.Errorf("the second Release: %v", err)
	}
	if s.Do("EXISTS", key) != int64(1) {
		t.Error("it has freed another's lease")
	}
}

func TestReleaseDespiteACancelledContext(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), nil)
	key := lockKey(t)
	lease := mustTry(t, l, key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := lease.Release(ctx); err != nil {
		t.Errorf("Release: %v", err)
	}
	if s.Do("EXISTS", key) != int64(0) {
		t.Error("the lease is still there")
	}
}

// TestAReleaseThatFailedIsTriedAgain: the life of the lease is a minute, and it is free long before that.
func TestAReleaseThatFailedIsTriedAgain(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), &Options{TTL: long, OpTimeout: 50 * time.Millisecond})
	key := lockKey(t)
	lease := mustTry(t, l, key)
	s.Freeze()
	err := lease.Release(t.Context())
	if err == nil || errors.Is(err, ErrLost) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Release: %v", err)
	}
	if lease.Context().Err() == nil {
		t.Error("the context lives on")
	}
	s.Thaw()
	eventually(t, "the release", func() error {
		if s.Do("EXISTS", key) != int64(0) {
			return errors.New("still held")
		}
		return nil
	})
}

func TestFencesGrowWhenTheClockIsSetBack(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), nil)
	key := lockKey(t)
	lease := mustTry(t, l, key)
	if d := time.Since(time.UnixMicro(lease.Fence())); d < -time.Second || d > bound {
		t.Errorf("fence %d is %v ago", lease.Fence(), d)
	}
	mustRelease(t, lease)
	// Not the clock is set back, but the last number ahead.
	n, _ := namesOf(key)
	ahead := time.Now().Add(30 * time.Minute).UnixMicro()
	s.Do("SET", n.fence, ahead)
	for i := range int64(5) {
		lease := mustTry(t, l, key)
		if lease.Fence() != ahead+i+1 {
			t.Errorf("fence %d, want %d", lease.Fence(), ahead+i+1)
		}
		mustRelease(t, lease)
	}
	if pttl := s.Do("PTTL", n.fence).(int64); pttl <= 0 || pttl > fenceLife.Milliseconds() {
		t.Errorf("the fence lives for %d ms", pttl)
	}
	s.Do("SET", n.fence, "no number")
	if f := mustTry(t, l, key).Fence(); f < time.Now().Add(-time.Hour).UnixMicro() {
		t.Errorf("fence %d", f)
	}
}

func TestFencesGrowAfterEviction(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), nil)
	key := lockKey(t)
	var last int64
	for range 20 {
		lease := mustTry(t, l, key)
		if lease.Fence() <= last {
			t.Fatalf("fence %d after %d", lease.Fence(), last)
		}
		last = lease.Fence()
		s.Do("FLUSHALL")
	}
}

func TestTheTokenNeverShows(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), &Options{OpTimeout: 20 * time.Millisecond})
	lease := mustTry(t, l, lockKey(t))
	s.Freeze()
	err := lease.Release(t.Context())
	s.Thaw()
	if err == nil || bytes.Contains([]byte(err.Error()), []byte(lease.token)) ||
		strings.Contains(err.Error(), lease.names.lease) {
		t.Errorf("error %v", err)
	}
}

// TestNoFenceForALeaseOfAnother: an attempt that finds another's lease writes nothing, also one that Redis runs twice.
func TestNoFenceForALeaseOfAnother(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), nil)
	key := lockKey(t)
	n, _ := namesOf(key)
	s.Do("SET", key, "another", "PX", 60_000)
	for range 2 {
		_, err := l.TryAcquire(t.Context(), key)
		wantErr(t, "TryAcquire", err, ErrHeld)
	}
	if s.Do("EXISTS", n.fence) != int64(0) {
		t.Error("a fence was drawn")
	}
	if s.Do("GET", key) != "another" {
		t.Error("another's lease was freed")
	}
}
