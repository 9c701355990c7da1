package locktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A lock in memory, right unless told otherwise.

var (
	errHeld = errors.New("held")
	errLost = errors.New("lost")
)

const memTTL = 100 * time.Millisecond

type fault string

const (
	none              fault = ""
	grantsAlways      fault = "grants always"
	noOwnerCheck      fault = "releases without comparing the owner"
	sameFence         fault = "fences do not grow"
	forgetsFence      fault = "fences begin anew after an eviction"
	neverLost         fault = "never notices a loss"
	hidesLoss         fault = "ends the context of a lost lease without saying why"
	noRenewal         fault = "does not renew"
	deadRelease       fault = "releases with the caller's context"
	releasesTwice     fault = "a second release is carried out too"
	neverWakes        fault = "does not wake waiters"
	deafWaiter        fault = "waiters do not watch their context"
	wrongBusy         fault = "says something else when busy"
	ignoresContext    fault = "takes leases for a context that has ended"
	tiedContext       fault = "the lease's context hangs on Acquire's"
	contextLives      fault = "the context outlives the lease"
	oneKeyForAll      fault = "has one lease for all keys"
	leakyRelease      fault = "release does not free"
	heldJoinedWithCtx fault = "a cancelled waiter's error says busy, too"
)

type memServer struct {
	fault fault
	mu    sync.Mutex
	cond  chan struct{} // closed and replaced at every change
	owner map[string]*memLease
	fence map[string]int64
}

func newMemServer(f fault) *memServer {
	return &memServer{fault: f, cond: make(chan struct{}), owner: map[string]*memLease{}, fence: map[string]int64{}}
}

func (m *memServer) changed() { close(m.cond); m.cond = make(chan struct{}) }

type memLease struct {
	m        *memServer
	key      string
	fence    int64
	ctx      context.Context
	cancel   context.CancelCauseFunc
	released bool
	lost     bool
	timer    *time.Timer
}

func (m *memServer) name(key string) string {
	if m.fault == oneKeyForAll {
		return "k"
	}
	return key
}

func (m *memServer) TryAcquire(ctx context.Context, key string) (*memLease, error) {
	l, _, err := m.try(ctx, m.name(key))
	return l, err
}

func (m *memServer) try(ctx context.Context, key string) (*memLease, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil && m.fault != ignoresContext {
		return nil, nil, ctx.Err()
	}
	if m.owner[key] != nil && m.fault != grantsAlways {
		if m.fault == wrongBusy {
			return nil, m.cond, errLost
		}
		return nil, m.cond, errHeld
	}
	if m.fault != sameFence {
		m.fence[key]++
	}
	l := &memLease{m: m, key: key, fence: m.fence[key]}
	base := context.WithoutCancel(ctx)
	if m.fault == tiedContext {
		base = ctx
	}
	l.ctx, l.cancel = context.WithCancelCause(base)
	if m.fault == noRenewal {
		l.timer = time.AfterFunc(memTTL, func() { _ = m.evict(key) })
	}
	m.owner[key] = l
	return l, nil, nil
}

func (m *memServer) Acquire(ctx context.Context, key string) (*memLease, error) {
	key = m.name(key)
	if m.fault == deafWaiter {
		ctx = context.WithoutCancel(ctx)
	}
	for {
		l, change, err := m.try(ctx, key)
		if change == nil {
			return l, err
		}
		if m.fault == neverWakes {
			change = nil
		}
		select {
		case <-change:
		case <-time.After(memTTL):
		case <-ctx.Done():
			if m.fault == heldJoinedWithCtx {
				return nil, errors.Join(errHeld, ctx.Err())
			}
			return nil, ctx.Err()
		}
	}
}

func (m *memServer) evict(key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key = m.name(key)
	if l := m.owner[key]; l != nil {
		l.lost = true
		switch m.fault {
		case neverLost:
		case hidesLoss:
			l.cancel(nil)
		default:
			l.cancel(errLost)
		}
	}
	delete(m.owner, key)
	if m.fault == forgetsFence {
		delete(m.fence, key)
	}
	return nil
}

func (l *memLease) Context() context.Context { return l.ctx }
func (l *memLease) Fence() int64             { return l.fence }
func (l *memLease) Release(ctx context.Context) error {
	m := l.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == deadRelease && ctx.Err() != nil {
		return ctx.Err()
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.released && m.fault != releasesTwice {
		return nil
	}
	if !l.released && (l.lost || m.owner[l.key] != l) && m.fault != noOwnerCheck && m.fault != grantsAlways {
		l.released = true
		return errLost
	}
	l.released = true
	if m.fault != contextLives {
		l.cancel(nil)
	}
	if m.fault == leakyRelease {
		return nil
	}
	delete(m.owner, l.key)
	m.changed()
	return nil
}

func harness(f fault) Harness {
	m := newMemServer(f)
	n := 0
	return Harness{
		Open:    func() (Locker, func() error, error) { return Adapt[*memLease](m), func() error { return nil }, nil },
		Key:     func() string { n++; return fmt.Sprint("k", n) },
		Evict:   func(_ context.Context, key string) error { return m.evict(key) },
		ErrHeld: errHeld, ErrLost: errLost,
		TTL: memTTL,
	}
}

func TestARightLockPasses(t *testing.T) { Run(t, harness(none)) }

// TestBrokenLocksFail breaks the lock in one way at a time; the suite must find each, under the name of the promise.
func TestBrokenLocksFail(t *testing.T) {
	for f, broken := range map[fault][]string{
		grantsAlways:      {"OneHolderAtATime", "TryAcquireReturnsErrHeld", "AHeldLeaseIsRenewed", "ReleaseWakesTheWaiter"},
		noOwnerCheck:      {"NobodyFreesAnothersLease", "ALostLeaseSaysSo"},
		sameFence:         {"FencesGrow", "FencesGrowAfterEviction", "OneHolderAtATime"},
		forgetsFence:      {"FencesGrowAfterEviction"},
		neverLost:         {"ALostLeaseSaysSo"},
		hidesLoss:         {"ALostLeaseSaysSo"},
		noRenewal:         {"AHeldLeaseIsRenewed"},
		deadRelease:       {"ReleaseDespiteACancelledContext"},
		releasesTwice:     {"ASecondReleaseDoesNothing"},
		neverWakes:        {"ReleaseWakesTheWaiter"},
		deafWaiter:        {"ACancelledWaiterReturnsItsContextsError"},
		wrongBusy:         {"TryAcquireReturnsErrHeld"},
		ignoresContext:    {"ADeadContextTakesNoLease"},
		tiedContext:       {"TheContextOutlivesAcquires"},
		contextLives:      {"TheContextEndsWithRelease"},
		oneKeyForAll:      {"KeysAreIndependent"},
		leakyRelease:      {"ReleaseFrees"},
		heldJoinedWithCtx: {"ACancelledWaiterReturnsItsContextsError"},
	} {
		t.Run(string(f), func(t *testing.T) {
			for _, name := range broken {
				i := slices.IndexFunc(promises, func(p promise) bool { return p.name == name })
				if i < 0 {
					t.Fatalf("no promise %s", name)
				}
				if err := promises[i].check(harness(f)); err == nil {
					t.Errorf("%s passed", name)
				} else {
					t.Logf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestEveryPromiseCanFail: a promise that no broken lock breaks would be one that tests nothing.
func TestEveryPromiseCanFail(t *testing.T) {
	caught := map[string]bool{}
	for _, f := range []fault{grantsAlways, noOwnerCheck, sameFence, noRenewal, deadRelease, releasesTwice, neverWakes,
		ignoresContext, tiedContext, contextLives, oneKeyForAll, leakyRelease, heldJoinedWithCtx, neverLost} {
		for _, p := range promises {
			if p.name == "OneHolderAtATime" && f == leakyRelease || caught[p.name] {
				continue // the former would wait for the whole bound
			}
			if p.check(harness(f)) != nil {
				caught[p.name] = true
			}
		}
	}
	for _, p := range promises {
		if !caught[p.name] {
			t.Errorf("no broken lock fails %s", p.name)
		}
	}
}
