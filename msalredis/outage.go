package msalredis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// errAway is returned without a wait while Redis is known to be away.
var errAway = errors.New("msalredis: Redis is away")

// outage is whether Redis is known to be away.
type outage struct {
	away    atomic.Bool // changed under mu
	mu      sync.Mutex
	present context.Context // ends when Redis is found away; another begins when it is back
	end     context.CancelCauseFunc
}

func newOutage() *outage {
	o := &outage{}
	o.present, o.end = context.WithCancelCause(context.Background())
	return o
}

// Load tells whether Redis is known to be away.
func (o *outage) Load() bool { return o.away.Load() }

// Store says that Redis is away, which ends all that queues for it, or that it is back. It tells whether that is news.
func (o *outage) Store(away bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away.Swap(away) == away {
		return false
	}
	if away {
		o.end(errAway)
	} else {
		o.present, o.end = context.WithCancelCause(context.Background())
	}
	return true
}

// presence is a context that ends when Redis is found away.
func (o *outage) presence() context.Context {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.present
}

// bound is ctx, ended also when Redis is found away.
func (o *outage) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	present := o.presence()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(present, func() { cancel(errAway) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
