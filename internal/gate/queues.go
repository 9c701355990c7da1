package gate

import (
	"context"
	"sync"
)

// queues are the in-process queues for leases: one goroutine of this process at a time tries for a lease and asks, with
// the lease or without.
type queues struct {
	mu  sync.Mutex
	all map[id]*queue
}

type queue struct {
	head    chan struct{} // full: somebody is at the head
	members int           // at the head, or behind it
	// withoutLease: the lease's holder, elsewhere, brings nothing. Whoever is at the head asks without the lease.
	withoutLease bool
}

// wait waits in the queue for a lease, to its head; leave it with the returned function.
func (qs *queues) wait(ctx context.Context, lease id) (*queue, func(), error) {
	qs.mu.Lock()
	if qs.all == nil {
		qs.all = map[id]*queue{}
	}
	q := qs.all[lease]
	if q == nil {
		q = &queue{head: make(chan struct{}, 1)}
		qs.all[lease] = q
	}
	q.members++
	qs.mu.Unlock()
	leave := func() {
		qs.mu.Lock()
		defer qs.mu.Unlock()
		if q.members--; q.members == 0 {
			delete(qs.all, lease)
		}
	}
	select {
	case q.head <- struct{}{}:
		return q, func() { <-q.head; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, nil, ctx.Err()
	}
}
