package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/workers"
)

// ErrClosed is returned by [Bus.Subscribe] after [Bus.Close].
var ErrClosed = errors.New("bus: closed")

// Bus is one subscription connection. It is safe for concurrent use.
type Bus struct {
	client redis.UniversalClient
	deaf   bool // a Ring has many servers, and no way to tell which one a channel is published on

	life    context.Context
	end     context.CancelFunc
	workers workers.Group

	mu       sync.Mutex
	closed   bool
	conn     *redis.PubSub // nil: no read goroutine
	channels map[string]*channel
	flushing bool
}

// channel is what somebody subscribed to, or what is to be unsubscribed.
type channel struct {
	subscribers map[*Subscription]struct{} // empty: to be unsubscribed
	sent        bool                       // SUBSCRIBE was sent, or is about to be
	confirmed   bool
}

// New makes a Bus on a client, which stays the caller's to close, after the Bus. It asks Redis nothing. handshake
// bounds each read and write while a connection is made, where the client can do that (a [redis.Client] can): so long
// Close may take.
//
// A [redis.Ring] has no one server to subscribe to: on it every subscription is ready at once, and hears nothing.
func New(client redis.UniversalClient, handshake time.Duration) *Bus {
	b := &Bus{client: client, channels: map[string]*channel{}}
	switch c := client.(type) {
	case *redis.Client:
		b.client = c.WithTimeout(handshake) // dials as the client does; other hooks do not see subscriptions anyway
	case *redis.Ring:
		b.deaf = true
	}
	b.life, b.end = context.WithCancel(context.Background())
	return b
}

// Close ends the connection and every goroutine, and waits for them. Subscriptions hear nothing any more. Calling it
// again does nothing.
func (b *Bus) Close() {
	b.end() // neither goroutine begins to dial any more
	b.mu.Lock()
	b.closed = true
	conn := b.conn
	b.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // ends the read that blocks; a second time does nothing
	}
	b.workers.Close()
}

// Subscription is what one subscriber hears of a channel. It is safe for concurrent use.
type Subscription struct {
	bus   *Bus
	name  string // of the channel
	keep  int
	ready chan struct{}
	c     chan struct{}

	heard  []string // at most keep; under Bus.mu, as is missed
	missed bool
}

// Subscribe hears what is published on a channel. keep is how many messages wait to be taken at most; with 0 a message
// is only told. It returns at once; the error is [ErrClosed].
func (b *Bus) Subscribe(name string, keep int) (*Subscription, error) {
	s := &Subscription{bus: b, name: name, keep: keep, ready: make(chan struct{}), c: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	if b.deaf {
		close(s.ready)
		return s, nil
	}
	if b.conn == nil {
		conn := b.client.Subscribe(b.life) // no channel: nothing is sent yet
		if !b.workers.Run(func() { b.read(conn) }) {
			_ = conn.Close()
			return nil, ErrClosed
		}
		b.conn = conn
	}
	ch := b.channels[name]
	if ch == nil {
		ch = &channel{subscribers: map[*Subscription]struct{}{}}
		b.channels[name] = ch
	}
	ch.subscribers[s] = struct{}{}
	if ch.confirmed {
		s.confirm()
	}
	b.startFlush()
	return s, nil
}

// Ready is closed when Redis has confirmed: nothing that is published from then on is missed without being told.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// C receives when there is something to [Subscription.Take]; several things that nobody has taken yet count as one. It
// is never closed.
func (s *Subscription) C() <-chan struct{} { return s.c }

// Take returns the messages that were heard since the last time, oldest first. missed: there may have been others. That
// is so once after Redis has confirmed, after each connection that was lost, and when more came than the subscriber
// keeps.
func (s *Subscription) Take() (heard []string, missed bool) {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	heard, missed = s.heard, s.missed
	s.heard, s.missed = nil, false
	return heard, missed
}

// Close ends the subscription; calling it again does nothing. Redis is told in the background, once nobody wants the
// channel.
func (s *Subscription) Close() {
	b := s.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := b.channels[s.name]
	if ch == nil {
		return
	}
	if _, ok := ch.subscribers[s]; ok {
		delete(ch.subscribers, s)
		b.startFlush()
	}
}

// hear takes a message in; under Bus.mu.
func (s *Subscription) hear(message string) {
	if len(s.heard) < s.keep {
		s.heard = append(s.heard, message)
	} else {
		s.missed = true
	}
	s.tell()
}

// confirm takes in that Redis has confirmed, for the first time or again; under Bus.mu.
func (s *Subscription) confirm() {
	s.missed = true
	s.tell() // before ready: who has seen that, and looks now, may empty C
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

func (s *Subscription) tell() {
	select {
	case s.c <- struct{}{}:
	default: // there is one that nobody has received yet
	}
}

// Format implements [fmt.Formatter]: no verb looks inside, at a client with its password.
func (b *Bus) Format(f fmt.State, _ rune) { fmt.Fprint(f, "bus.Bus") }

// Format implements [fmt.Formatter]: no verb reads what the Bus writes.
func (s *Subscription) Format(f fmt.State, _ rune) { fmt.Fprint(f, "bus.Subscription") }
