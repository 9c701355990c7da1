package gate

import (
	"context"
	"sync"
)

// turns lets one goroutine of this process at a time work on a partition, also while there is no lease to be had.
type turns struct {
	mu  sync.Mutex
	all map[id]*turn
}

type turn struct {
	c       chan struct{}
	holders int
	alone   bool // who has the turn asks without the lease: its holder brings nothing
}

// take waits for the turn; give it back with the returned function.
func (ts *turns) take(ctx context.Context, i id) (*turn, func(), error) {
	ts.mu.Lock()
	if ts.all == nil {
		ts.all = map[id]*turn{}
	}
	t := ts.all[i]
	if t == nil {
		t = &turn{c: make(chan struct{}, 1)}
		ts.all[i] = t
	}
	t.holders++
	ts.mu.Unlock()
	leave := func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if t.holders--; t.holders == 0 {
			delete(ts.all, i)
		}
	}
	select {
	case t.c <- struct{}{}:
		return t, func() { <-t.c; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, nil, ctx.Err()
	}
}
