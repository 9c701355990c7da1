package lock

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
)

// Subscription is told when a key is woken: by a Release or by [Locker.Wake].
type Subscription struct {
	names names
	waker *waker
	c     chan struct{}
	ready chan struct{} // closed when Redis has confirmed
	late  bool          // Subscribe returned before that; under waker.mu
}

// C receives after each wake-up of the key that Redis delivers; wake-ups that nobody has received yet count as one. It is never
// closed, not by [Locker.Close] either. It may receive without cause, so look again and go on waiting; and messages do get lost
// (a connection breaks, Redis fails over), so look also now and then without it.
func (s *Subscription) C() <-chan struct{} { return s.c }

// Close ends the subscription; calling it again does nothing. Redis is told in the background.
func (s *Subscription) Close() { s.waker.remove(s) }

func (s *Subscription) wake() {
	select {
	case s.c <- struct{}{}:
	default: // there is one that nobody has received yet
	}
}

// Subscribe makes the caller hear of the wake-ups of a key: who waits for something that a holder of the lease is about to make
// subscribes, then looks whether it is there already, then waits for C, and for a timer against lost messages.
//
// It returns when Redis has confirmed, so that nothing published after it is missed. If that takes longer than OpTimeout, it returns
// all the same: C receives once when the confirmation comes, so that a caller that then looks again misses nothing either.
// The errors are ctx's, when it ends meanwhile; [ErrClosed]; and that of a bad key.
//
// All subscriptions of a Locker share one connection, which is made when it is needed and ends some time after the last of them.
func (l *Locker) Subscribe(ctx context.Context, key string) (*Subscription, error) {
	n, err := namesOf(key)
	if err != nil {
		return nil, err
	}
	return l.subscribe(ctx, n)
}

func (l *Locker) subscribe(ctx context.Context, n names) (*Subscription, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	s, err := l.waker.add(n)
	if err != nil {
		return nil, err
	}
	if l.waker.pollOnly {
		return s, nil
	}
	timer := time.NewTimer(l.opts.OpTimeout)
	defer timer.Stop()
	select {
	case <-s.ready:
	case <-timer.C:
		l.waker.mu.Lock()
		s.late = true // a confirmation from now on wakes; an earlier one has closed ready
		l.waker.mu.Unlock()
	case <-ctx.Done():
		s.Close()
		return nil, ended(ctx)
	case <-l.ctx.Done():
		return nil, ErrClosed
	}
	return s, nil
}

// Wake wakes those who wait for a key, in Acquire or by Subscribe, on all instances, without having its lease. Its error is
// Redis's, ctx's or [ErrClosed]. It takes no longer than OpTimeout once it has its place (see [Options.InFlight]).
func (l *Locker) Wake(ctx context.Context, key string) error {
	n, err := namesOf(key)
	if err != nil {
		return err
	}
	_, err = run(l, ctx, l.opts.OpTimeout, func(ctx context.Context) (int64, error) {
		return l.client.Publish(ctx, n.channel, "").Result()
	}, nil)
	if err != nil {
		return l.explain(ctx, "wake", err)
	}
	return nil
}

// waker owns the connection of all subscriptions. Callers only change what is wanted, under mu, and never touch the connection: every
// method of go-redis's PubSub takes a mutex that is held while it dials. Two goroutines do: flush, which makes what is subscribed what
// is wanted and ends; and read, which dispatches what arrives for as long as somebody is subscribed.
//
// No wake-up is lost on a connection that lives, whatever the order of events, because **every confirmation of a subscription wakes**
// its waiters, or lets Subscribe return, whose caller looks. Suppose the last waiter leaves and another comes: subscribe, unsubscribe, subscribe are under way, and the first confirmation
// makes the newcomer look too early, before the unsubscription takes effect; the second one makes it look again. And when go-redis
// reconnects it subscribes anew, whose confirmation makes everybody look who may have missed something meanwhile.
type waker struct {
	locker   *Locker
	client   redis.UniversalClient
	pollOnly bool // a Ring has many servers, and no way to tell which one a channel is published on

	mu       sync.Mutex
	closed   bool
	conn     *redis.PubSub // nil: no read goroutine
	channels map[string]*channel
	flushing bool
}

type channel struct {
	subs      map[*Subscription]struct{} // empty: to be unsubscribed
	sent      bool                       // SUBSCRIBE was sent, or is about to be
	confirmed bool
}

// silence is how long the connection may say nothing before it is asked whether it lives (and, if nobody is subscribed, closed). A
// connection that does not answer for as long again is replaced. Redis in Azure cuts idle connections after ten minutes.
const silence = 10 * time.Second

func newWaker(l *Locker, client redis.UniversalClient) *waker {
	_, ring := client.(*redis.Ring)
	return &waker{locker: l, client: client, pollOnly: ring, channels: map[string]*channel{}}
}

func (w *waker) add(n names) (*Subscription, error) {
	s := &Subscription{names: n, waker: w, c: make(chan struct{}, 1), ready: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	if w.pollOnly {
		return s, nil
	}
	ch := w.channels[n.channel]
	if ch == nil {
		ch = &channel{subs: map[*Subscription]struct{}{}}
		w.channels[n.channel] = ch
	}
	ch.subs[s] = struct{}{}
	if ch.confirmed {
		close(s.ready)
	}
	if w.conn == nil {
		conn := w.client.Subscribe(w.locker.ctx) // no channel: nothing is sent yet
		if !w.locker.spawn(func() { w.read(conn) }) {
			_ = conn.Close()
			return nil, ErrClosed
		}
		w.conn = conn
	}
	w.startFlush()
	return s, nil
}

func (w *waker) remove(s *Subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := w.channels[s.names.channel]
	if ch == nil {
		return
	}
	if _, ok := ch.subs[s]; ok {
		delete(ch.subs, s)
		w.startFlush()
	}
}

func (w *waker) startFlush() {
	if !w.flushing && !w.closed {
		w.flushing = w.locker.spawn(w.flush)
	}
}

// flush sends what is missing, many channels in one command, until nothing is.
func (w *waker) flush() {
	pause := newPause()
	for {
		w.mu.Lock()
		var add, drop []string
		for name, ch := range w.channels {
			switch {
			case len(ch.subs) > 0 && !ch.sent:
				ch.sent = true
				add = append(add, name)
			case len(ch.subs) == 0:
				delete(w.channels, name)
				if ch.sent {
					drop = append(drop, name)
				}
			}
		}
		conn := w.conn
		if w.closed || conn == nil || len(add)+len(drop) == 0 {
			w.flushing = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()

		if len(drop) > 0 {
			// An error needs no care: it means that the connection is broken, and go-redis has struck the channels from those
			// that it subscribes on the next.
			_ = conn.Unsubscribe(w.locker.ctx, drop...)
		}
		if len(add) == 0 {
			continue
		}
		if err := conn.Subscribe(w.locker.ctx, add...); err == nil {
			pause.Reset()
			continue
		}
		// Not every way in which this fails leaves the channels on go-redis's list: send them again. Twice does no harm.
		w.mu.Lock()
		for _, name := range add {
			if ch := w.channels[name]; ch != nil {
				ch.sent = false
			}
		}
		w.mu.Unlock()
		w.locker.sleep(pause.NextBackOff())
	}
}

// read dispatches what arrives, until nobody is subscribed any more or the Locker is closed.
func (w *waker) read(conn *redis.PubSub) {
	pause := newPause()
	asked := false
	for {
		msg, err := conn.ReceiveTimeout(w.locker.ctx, silence)
		if w.locker.ctx.Err() != nil {
			_ = conn.Close()
			return
		}
		var timeout net.Error
		switch {
		case err == nil:
			asked = false
			pause.Reset()
			w.dispatch(msg)
		case !errors.As(err, &timeout) || !timeout.Timeout() || errors.Is(err, context.DeadlineExceeded):
			// The connection broke or there is none to be had. go-redis makes a new one at the next call.
			w.locker.sleep(pause.NextBackOff())
		case w.retire(conn):
			return
		case !asked:
			asked = true
			_ = conn.Ping(w.locker.ctx)
		default: // silent for two periods, and our ping unanswered: half open
			asked = false
			if conn = w.replace(conn); conn == nil {
				return
			}
		}
	}
}

func (w *waker) dispatch(msg any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch msg := msg.(type) {
	case *redis.Message:
		if ch := w.channels[msg.Channel]; ch != nil {
			for s := range ch.subs {
				s.wake()
			}
		}
	case *redis.Subscription:
		ch := w.channels[msg.Channel]
		if msg.Kind != "subscribe" || ch == nil {
			return
		}
		first := !ch.confirmed
		ch.confirmed = true
		for s := range ch.subs {
			if first {
				close(s.ready)
			}
			if !first || s.late { // else Subscribe returns now, and its caller looks anyway
				s.wake()
			}
		}
	}
}

// retire closes the connection if nobody is subscribed; the next subscription makes another.
func (w *waker) retire(conn *redis.PubSub) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.channels) > 0 || w.flushing {
		return false
	}
	w.conn = nil
	_ = conn.Close() // nobody dials now: read does not, and there is no flush
	return true
}

// replace makes a new connection and has everything subscribed on it.
func (w *waker) replace(old *redis.PubSub) *redis.PubSub {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		_ = old.Close()
		return nil
	}
	w.conn = w.client.Subscribe(w.locker.ctx)
	conn := w.conn
	for _, ch := range w.channels {
		ch.sent = false // confirmed stays: the new confirmation wakes those who were confirmed on the old one
	}
	w.startFlush()
	w.mu.Unlock()
	_ = old.Close()
	return conn
}

// close ends both goroutines; the locker's context has ended already, so neither begins to dial any more.
func (w *waker) close() {
	w.mu.Lock()
	w.closed = true
	conn := w.conn
	w.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // ends the read that blocks; a second time does nothing
	}
}

func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 2*time.Second
	return b
}

// sleep waits, but not longer than the Locker lives.
func (l *Locker) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}
