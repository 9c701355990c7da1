package lock

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

func TestMain(m *testing.M) {
	if subprocess.Role() == holderRole {
		os.Exit(holderMain())
	}
	goleak.VerifyTestMain(m)
}

// long is a time that no test waits for: what should come without it comes without it.
const long = time.Minute

// bound is when a test gives up on something that should come at once, on a machine with other things to do.
const bound = 10 * time.Second

func open(t testing.TB, client redis.UniversalClient, opts *Options) *Locker {
	t.Helper()
	l := New(client, opts)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

func lockKey(t testing.TB) string { return "msal:v1:{" + redistest.Prefix(t) + "}:lock" }

func mustTry(t testing.TB, l *Locker, key string) *Lease {
	t.Helper()
	s, err := l.TryAcquire(t.Context(), key)
	if err != nil {
		t.Fatalf("TryAcquire: %v", err)
	}
	return s
}

func mustRelease(t testing.TB, s *Lease) {
	t.Helper()
	if err := s.Release(t.Context()); err != nil {
		t.Fatalf("Release: %v", err)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// eventually waits for what another process does and does not announce.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(bound); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s: %v", what, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

type acquired struct {
	lease *Lease
	err   error
}

func goAcquire(ctx context.Context, l *Locker, key string) <-chan acquired {
	c := make(chan acquired, 1)
	go func() {
		s, err := l.Acquire(ctx, key)
		c <- acquired{s, err}
	}()
	return c
}

func (a acquired) must(t testing.TB) *Lease {
	t.Helper()
	if a.err != nil {
		t.Fatalf("Acquire: %v", a.err)
	}
	return a.lease
}

// hook is a go-redis hook that a test gives its behaviour, and may change while it is used.
type hook struct {
	f atomic.Pointer[func(ctx context.Context, cmd redis.Cmder, next func() error) error]
}

func (h *hook) set(f func(ctx context.Context, cmd redis.Cmder, next func() error) error) {
	h.f.Store(&f)
}

func (h *hook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if f := h.f.Load(); f != nil {
			err := (*f)(ctx, cmd, func() error { return next(ctx, cmd) })
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}
func (h *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// is tells whether cmd runs a script.
func is(cmd redis.Cmder, s *redis.Script) bool {
	return (cmd.Name() == "evalsha" || cmd.Name() == "eval") && len(cmd.Args()) > 1 && cmd.Args()[1] == s.Hash()
}
