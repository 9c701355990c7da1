package lock

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// reaper releases, by their tokens, leases that nobody holds and that may stand in Redis all the same: of attempts
// whose outcome is unknown, or whose caller left. One goroutine and one connection at most: when Redis hangs, every
// attempt of a busy process ends here, and a goroutine each would take the pool from the application. It runs while
// there is something to do.
type reaper struct {
	mu      sync.Mutex
	queue   []abandoned
	running bool
}

type abandoned struct {
	names names
	token string
	until time.Time // by then it has run out by itself
}

// maxAbandoned bounds the queue. What does not fit runs out by itself.
const maxAbandoned = 1024

// abandon sees to it that the token's lease, if there is one, is released: in the background, or here and now when the
// Locker is closed and has no background any more.
func (l *Locker) abandon(n names, token string) {
	if !l.reap(n, token) {
		_, _ = l.release(context.Background(), n, token)
	}
}

// reap queues a token; false if the Locker is closed.
func (l *Locker) reap(n names, token string) bool {
	r := &l.reaper
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running {
		if !l.spawn(l.reapAll) {
			return false
		}
		r.running = true
	}
	if len(r.queue) < maxAbandoned {
		r.queue = append(r.queue, abandoned{n, token, time.Now().Add(l.opts.TTL + 2*l.opts.OpTimeout)})
	}
	return true
}

func (l *Locker) reapAll() {
	r := &l.reaper
	least, most := max(l.opts.OpTimeout/4, time.Millisecond), l.opts.TTL/4
	pause := least
	for {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.queue, r.running = nil, false
			r.mu.Unlock()
			return
		}
		next := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()

		for time.Now().Before(next.until) {
			waiting, stop := context.WithDeadline(context.Background(), next.until)
			entered := l.enter(waiting, nil)
			stop()
			err := entered
			ctx, cancel := context.WithTimeout(context.Background(), l.opts.OpTimeout)
			if entered == nil || errors.Is(entered, ErrClosed) {
				_, err = releaseScript.Run(ctx, l.client, []string{next.names.lease}, next.token, next.names.channel).Bool()
			}
			if entered == nil {
				l.exit()
			}
			cancel()
			if err == nil {
				pause = least
				break
			}
			select {
			case <-time.After(pause/2 + rand.N(pause)): // not all processes at once
				pause = min(2*pause, most)
			case <-l.ctx.Done(): // one attempt each must do; after a failure none
				r.mu.Lock()
				r.queue, r.running = nil, false
				r.mu.Unlock()
				return
			}
		}
	}
}
