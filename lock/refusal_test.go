package lock

import (
	"errors"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// TestARedisThatRefusesIsNotHeldByAnother: what Redis refuses is Redis's error, also where another has the lease, or
// had it until it ended: who waits for that would wait for nothing. A read-only Redis 6.0 shows scripts keys that have
// ended.
func TestARedisThatRefusesIsNotHeldByAnother(t *testing.T) {
	for name, refuse := range map[string]func(*redistest.Server){
		"READONLY": (*redistest.Server).ReadOnly,
		"OOM":      (*redistest.Server).FillMemory,
	} {
		for before, life := range map[string]time.Duration{
			"free": 0, "held by another": time.Minute, "its time is over": time.Millisecond,
		} {
			t.Run(name+", "+before, func(t *testing.T) {
				s := redistest.Start(t)
				l := open(t, s.Client(), nil)
				key := lockKey(t)
				mustRelease(t, mustTry(t, l, lockKey(t))) // the scripts are there
				if life > 0 {
					s.Do("SET", key, "another", "PX", life.Milliseconds())
				}
				refuse(s)
				time.Sleep(min(life, 5*time.Millisecond)) // until it has ended, if it ends
				for range 2 {
					if _, err := l.TryAcquire(t.Context(), key); err == nil || errors.Is(err, ErrHeld) || errors.Is(err, ErrLost) {
						t.Errorf("TryAcquire: %v", err)
					}
				}
			})
		}
	}
}

// TestAForeignValueIsNoLease: a key of another type is Redis's error, and stays; a fence of another type, or that is no
// number of ours, counts as none.
func TestAForeignValueIsNoLease(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), nil)
	key := lockKey(t)
	n, _ := namesOf(key)
	s.Do("HSET", key, "f", "v")
	if _, err := l.TryAcquire(t.Context(), key); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("a lease of another type: %v", err)
	}
	if s.Do("HGET", key, "f") != "v" {
		t.Error("it is gone")
	}
	s.Do("DEL", key)
	for name, put := range map[string][]any{
		"a hash": {"HSET", n.fence, "f", "v"}, "1e300": {"SET", n.fence, "1e300"}, "inf": {"SET", n.fence, "inf"},
		"text": {"SET", n.fence, "x"},
	} {
		s.Do("DEL", n.fence)
		s.Do(put...)
		lease := mustTry(t, l, key)
		if now := time.Now().UnixMicro(); lease.Fence() < now-3600e6 || lease.Fence() > now+3600e6 {
			t.Errorf("a fence that is %s: %d", name, lease.Fence())
		}
		mustRelease(t, lease)
	}
}

// TestARepeatedAttemptHasItsLease: go-redis sends a command again whose answer it has lost. The lease has a new life
// then, and a larger fence.
func TestARepeatedAttemptHasItsLease(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), nil)
	key := lockKey(t)
	n, _ := namesOf(key)
	first, err := l.obtain(t.Context(), n, "ours")
	if err != nil {
		t.Fatal(err)
	}
	s.Do("PEXPIRE", key, 100)
	again, err := l.obtain(t.Context(), n, "ours")
	if err != nil || again.fence <= first.fence {
		t.Errorf("fence %d after %d: %v", again.fence, first.fence, err)
	}
	if left := s.Do("PTTL", key).(int64); left <= 100 {
		t.Errorf("it lives for %d ms more", left)
	}
	if _, err := l.obtain(t.Context(), n, "another's"); !errors.Is(err, ErrHeld) {
		t.Errorf("another's attempt: %v", err)
	}
}

// TestARenewalThatIsRefusedIsNoLoss: Redis does not say whose the lease is, which is an error and is tried again. A key
// of another type is not ours.
func TestARenewalThatIsRefusedIsNoLoss(t *testing.T) {
	s := redistest.Start(t)
	s.AddUser("holder", "a-password", "~* &* +@all")
	client := s.ClientAs("holder", "a-password")
	l := open(t, client, &Options{TTL: long})
	lease := mustTry(t, l, lockKey(t))
	renew := func() (bool, error) {
		keys := []string{lease.names.lease}
		return renewScript.Run(t.Context(), client, keys, lease.token, long.Milliseconds()).Bool()
	}
	if ours, err := renew(); !ours || err != nil {
		t.Errorf("a lease of ours: %v, %v", ours, err)
	}
	s.Do("ACL", "SETUSER", "holder", "-get")
	if _, err := renew(); err == nil {
		t.Error("a refused renewal is no error")
	}
	s.Do("ACL", "SETUSER", "holder", "+get")
	s.Do("DEL", lease.names.lease)
	s.Do("HSET", lease.names.lease, "f", "v")
	if ours, err := renew(); ours || err != nil {
		t.Errorf("a hash: %v, %v", ours, err)
	}
}

// TestAnOpTimeoutWithoutAUnit is a mistake, and not the end of the process.
func TestAnOpTimeoutWithoutAUnit(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client(), &Options{OpTimeout: 3})
	if _, err := l.TryAcquire(t.Context(), lockKey(t)); err == nil {
		t.Error("Redis answered within 3 ns")
	}
	time.Sleep(100 * time.Millisecond) // of the reaper, which finds no time either
}
