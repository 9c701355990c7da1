// Package workers is goroutines that are waited for.
//
// It owns how a part of the library starts work that outlives its caller. Invariant: none starts in a [Group] after it
// was closed, and closing waits for all. Group.mu guards whether it is closed; nothing is called, and no other mutex
// taken, under it.
package workers

import (
	"context"
	"sync"
	"time"
)

// Group are goroutines. The zero Group is open and empty.
type Group struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// Run starts f; false: the group is closed.
func (g *Group) Run(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Go(f)
	return true
}

// Join counts the calling goroutine as one of the group until it leaves; false: the group is closed.
func (g *Group) Join() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Add(1)
	return true
}

// Leave ends what Join began.
func (g *Group) Leave() { g.wg.Done() }

// Close closes the group and waits for all.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}

// CloseWithin closes the group and waits for d at most; false: some have not ended.
func (g *Group) CloseWithin(d time.Duration) bool {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Close()
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// Sleep waits for d; false: ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
