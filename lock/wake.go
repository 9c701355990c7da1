package lock

import (
	"context"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/bus"
)

// Subscription is told when the lease of a key is released.
type Subscription struct{ heard *bus.Subscription }

// C receives after each release that Redis tells of; releases that nobody has received yet count as one. It is never
// closed, not by [Locker.Close] either. It may receive without cause, so look again and go on waiting; and messages do
// get lost (a connection breaks, Redis fails over), so look also now and then without it.
func (s *Subscription) C() <-chan struct{} { return s.heard.C() }

// Close ends the subscription; calling it again does nothing. Redis is told in the background.
func (s *Subscription) Close() { s.heard.Close() }

// Subscribe makes the caller hear of the releases of a key: who waits for something that a holder of the lease is about
// to make subscribes, then looks whether it is there already, then waits for C, and for a timer against lost messages.
//
// It returns when Redis has confirmed, so that nothing published after it is missed. If that takes longer than
// OpTimeout, it returns all the same: C receives once when the confirmation comes, so that a caller that then looks
// again misses nothing either. The errors are ctx's, when it ends meanwhile; [ErrClosed]; and that of a bad key.
//
// All subscriptions of a Locker share one connection, which is made when it is needed and ends some time after the last
// of them.
func (l *Locker) Subscribe(ctx context.Context, key string) (*Subscription, error) {
	n, err := namesOf(key)
	if err != nil {
		return nil, err
	}
	return l.subscribe(ctx, n)
}

func (l *Locker) subscribe(ctx context.Context, n names) (*Subscription, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ended(ctx)
	case l.ctx.Err() != nil:
		return nil, ErrClosed
	}
	heard, err := l.bus.Subscribe(n.channel, 0)
	if err != nil {
		return nil, ErrClosed
	}
	timer := time.NewTimer(l.opts.OpTimeout)
	defer timer.Stop()
	select {
	case <-heard.Ready():
		select {
		case <-heard.C(): // of the confirmation, or a release before it: the caller looks now anyway
		default:
		}
	case <-timer.C:
	case <-ctx.Done():
		heard.Close()
		return nil, ended(ctx)
	case <-l.ctx.Done():
		heard.Close()
		return nil, ErrClosed
	}
	return &Subscription{heard}, nil
}
