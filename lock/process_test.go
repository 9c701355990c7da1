package lock

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

// A holder is a process that takes a lease, tells its fence, and holds it until it is killed, or its parent has ended.
const holderRole = "holder of a lease"

type holding struct {
	URL, Key string
	TTL      time.Duration
}

func holderMain() int {
	return subprocess.Serve(func(p *subprocess.Parent[struct{}, int64], h holding) (func(), error) {
		opts, err := redis.ParseURL(h.URL)
		if err != nil {
			return nil, err
		}
		s, err := New(redis.NewClient(opts), &Options{TTL: h.TTL}).TryAcquire(p.Context, h.Key)
		return func() {
			_ = p.Tell(s.Fence())
			<-p.Context.Done()
		}, err
	})
}

// startProcess starts a process and kills it at the end of the test.
func startProcess[Order, Outcome any](t *testing.T, role string, setup any) *subprocess.Child[Order, Outcome] {
	t.Helper()
	p, err := subprocess.Start[Order, Outcome](subprocess.Spec{Role: role, Setup: setup})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAKilledHolderCostsTheOthersTTL: a process holds the lease, renews it for longer than it lives, and is killed, so
// that nothing of it can clean up.
func TestAKilledHolderCostsTheOthersTTL(t *testing.T) {
	const ttl = time.Second
	s := redistest.Start(t)
	key := lockKey(t)
	holder := startProcess[struct{}, int64](t, holderRole, holding{s.URL(), key, ttl})
	fence, err := holder.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	l := open(t, s.Client(), &Options{TTL: ttl, PollInterval: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 2*ttl+2*bound)
	defer cancel()
	waiter := goAcquire(ctx, l, key)
	select {
	case a := <-waiter:
		t.Fatalf("Acquire returned (%v) while another process held the lease", a.err)
	case <-time.After(2 * ttl):
	}
	holder.Kill()
	killed := time.Now()
	left := time.Duration(s.Do("PTTL", key).(int64)) * time.Millisecond
	if left > ttl || left <= 0 {
		t.Errorf("the lease has %v to live", left)
	}
	next := (<-waiter).must(t)
	// Redis says when it has run out; the rest is the machine's.
	if d := time.Since(killed); d > ttl+bound/4 {
		t.Errorf("the next holder came %v after the end of the last", d)
	}
	if next.Fence() <= fence {
		t.Errorf("fence %d after %d", next.Fence(), fence)
	}
	mustRelease(t, next)
}
