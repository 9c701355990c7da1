package redisop

import (
	"context"
	"sync"
	"sync/atomic"
)

// Breaker is open while Redis is known to be away.
type Breaker struct {
	open    atomic.Bool // changed under mu
	mu      sync.Mutex
	present context.Context // ends when Redis is found away; another begins when it is back
	end     context.CancelCauseFunc
}

func newBreaker() *Breaker {
	b := &Breaker{}
	b.present, b.end = context.WithCancelCause(context.Background())
	return b
}

// IsOpen tells whether Redis is known to be away.
func (b *Breaker) IsOpen() bool { return b.open.Load() }

// Open says that Redis is away, which ends all that queues for it. It tells whether that is news.
func (b *Breaker) Open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.Swap(true) {
		return false
	}
	b.end(ErrAway)
	return true
}

// Close says that Redis is back, or worth a try.
func (b *Breaker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.Swap(false) {
		b.present, b.end = context.WithCancelCause(context.Background())
	}
}

// presence is a context that ends when Redis is found away.
func (b *Breaker) presence() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.present
}

// bound is ctx, ended also when Redis is found away.
func (b *Breaker) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	present := b.presence()
	ctx, cancel := context.WithCancelCause(ctx)
	if present.Err() != nil {
		cancel(ErrAway) // AfterFunc would do it in another goroutine, and Redis might be asked before
	}
	stop := context.AfterFunc(present, func() { cancel(ErrAway) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
