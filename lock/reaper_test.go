package lock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

var errCut = errors.New("connection reset by peer")

// TestAnAttemptThatFailedAndTookEffectIsUndone: Redis has executed what the caller was told had failed. Nobody knows
// the lease then, and it would keep the others waiting for a minute.
func TestAnAttemptThatFailedAndTookEffectIsUndone(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, &Options{TTL: long})
		defer l.Close()
		mustRelease(t, mustTry(t, l, "{k}:lock")) // loads the scripts: one command each from here on
		held := 0
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			err := next()
			if is(cmd, obtainScript) {
				if b.Exists("{k}:lock") {
					held++
				}
				return errCut
			}
			return err
		})
		_, err := l.TryAcquire(t.Context(), "{k}:lock")
		wantErr(t, "TryAcquire", err, errCut)
		if errors.Is(err, ErrHeld) || errors.Is(err, ErrLost) {
			t.Errorf("error %v", err)
		}
		synctest.Wait()
		if held != 1 {
			t.Errorf("the lease was taken %d times", held)
		}
		if b.Exists("{k}:lock") {
			t.Error("the lease is still there")
		}
	})
}

// TestAnAttemptWhoseAnswerComesTooLateIsUndone: the caller has left. The clock stands at the time at which Redis
// answers.
func TestAnAttemptWhoseAnswerComesTooLateIsUndone(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, &Options{TTL: long})
		defer l.Close()
		mustRelease(t, mustTry(t, l, "{k}:lock"))
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			err := next()
			if is(cmd, obtainScript) {
				time.Sleep(100 * time.Millisecond)
			}
			return err
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := l.TryAcquire(ctx, "{k}:lock")
		wantErr(t, "TryAcquire", err, context.DeadlineExceeded)
		if !b.Exists("{k}:lock") {
			t.Fatal("the attempt had no effect, and the test no point")
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if b.Exists("{k}:lock") {
			t.Error("the lease is still there")
		}
	})
}

// TestUndoingIsTriedUntilRedisIsBack: and then everything that was left behind is gone, but what others took meanwhile.
func TestUndoingIsTriedUntilRedisIsBack(t *testing.T) {
	bubble(t, func(t *testing.T, b *bubbleEnv) {
		l := open(t, b.client, &Options{TTL: long})
		defer l.Close()
		mustRelease(t, mustTry(t, l, "{k}:lock"))
		b.hook.set(func(_ context.Context, cmd redis.Cmder, next func() error) error {
			if is(cmd, obtainScript) {
				_ = next()
			}
			return errCut
		})
		keys := []string{"{1}:lock", "{2}:lock", "{3}:lock"}
		for _, key := range keys {
			_, err := l.TryAcquire(t.Context(), key)
			wantErr(t, "TryAcquire", err, errCut)
		}
		b.Set(keys[1], "another's")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, key := range keys {
			if !b.Exists(key) {
				t.Errorf("%s is gone, from a Redis that cannot be reached", key)
			}
		}
		b.hook.set(func(_ context.Context, _ redis.Cmder, next func() error) error { return next() })
		time.Sleep(long / 4) // the pause between two attempts, at most
		time.Sleep(long / 8) // and half of it more, for its jitter
		synctest.Wait()
		if b.Exists(keys[0]) || b.Exists(keys[2]) {
			t.Error("a lease is still there")
		}
		if v, _ := b.Get(keys[1]); v != "another's" {
			t.Error("another's lease was freed")
		}
		l.reaper.mu.Lock()
		defer l.reaper.mu.Unlock()
		if l.reaper.running || len(l.reaper.queue) > 0 {
			t.Error("it goes on with nothing to do")
		}
	})
}
