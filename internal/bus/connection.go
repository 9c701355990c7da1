package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/workers"
)

// silence is how long the connection may say nothing before it is asked whether it lives (and, if nobody is subscribed,
// closed). A connection that does not answer for as long again is replaced. Redis in Azure cuts idle connections after
// ten minutes.
const silence = 10 * time.Second

// startFlush has flush run; under mu.
func (b *Bus) startFlush() {
	if !b.flushing && !b.closed {
		b.flushing = b.workers.Run(b.flush)
	}
}

// flush sends what is missing, many channels in one command, until nothing is.
func (b *Bus) flush() {
	var pause pause
	for {
		conn, add, drop := b.missing()
		if conn == nil {
			return
		}
		if len(drop) > 0 {
			// An error needs no care: it means that the connection is broken, and go-redis has struck the channels from those
			// that it subscribes on the next.
			_ = conn.Unsubscribe(b.life, drop...)
		}
		if len(add) == 0 {
			continue
		}
		if err := conn.Subscribe(b.life, add...); err == nil {
			pause = 0
			continue
		}
		// Not every way in which this fails leaves the channels on go-redis's list: send them again. Twice does no harm.
		b.mu.Lock()
		for _, name := range add {
			if ch := b.channels[name]; ch != nil {
				ch.sent = false
			}
		}
		b.mu.Unlock()
		workers.Sleep(b.life, pause.next())
	}
}

// missing is what is to be sent, and counts it as sent; nil: nothing is, and flush has ended.
func (b *Bus) missing() (conn *redis.PubSub, add, drop []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, ch := range b.channels {
		switch {
		case len(ch.subscribers) > 0 && !ch.sent:
			ch.sent = true
			add = append(add, name)
		case len(ch.subscribers) == 0:
			delete(b.channels, name)
			if ch.sent {
				drop = append(drop, name)
			}
		}
	}
	if b.closed || b.conn == nil || len(add)+len(drop) == 0 {
		b.flushing = false
		return nil, nil, nil
	}
	return b.conn, add, drop
}

// read hands out what arrives, until nobody is subscribed any more or the Bus is closed.
func (b *Bus) read(conn *redis.PubSub) {
	var pause pause
	asked := false
	for {
		message, err := conn.ReceiveTimeout(b.life, silence)
		if b.life.Err() != nil {
			_ = conn.Close()
			return
		}
		var timeout net.Error
		switch {
		case err == nil:
			asked = false
			pause = 0
			b.handOut(message)
		case !errors.As(err, &timeout) || !timeout.Timeout() || errors.Is(err, context.DeadlineExceeded):
			// The connection broke or there is none to be had. go-redis makes a new one at the next call.
			workers.Sleep(b.life, pause.next())
		case b.retire(conn):
			return
		case !asked:
			asked = true
			_ = conn.Ping(b.life)
		default: // silent for two periods, and our ping unanswered: half open
			asked = false
			if conn = b.replace(conn); conn == nil {
				return
			}
		}
	}
}

func (b *Bus) handOut(message any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch m := message.(type) {
	case *redis.Message:
		if ch := b.channels[m.Channel]; ch != nil {
			for s := range ch.subscribers {
				s.hear(m.Payload)
			}
		}
	case *redis.Subscription:
		ch := b.channels[m.Channel]
		if m.Kind != "subscribe" || ch == nil {
			return
		}
		ch.confirmed = true
		for s := range ch.subscribers {
			s.confirm()
		}
	}
}

// retire closes the connection if nobody is subscribed; the next subscription makes another.
func (b *Bus) retire(conn *redis.PubSub) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.channels) > 0 || b.flushing {
		return false
	}
	b.conn = nil
	_ = conn.Close() // nobody dials now: read does not, and there is no flush
	return true
}

// replace makes a new connection and has everything subscribed on it; nil: the Bus is closed.
func (b *Bus) replace(old *redis.PubSub) *redis.PubSub {
	defer old.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.conn = b.client.Subscribe(b.life)
	for _, ch := range b.channels {
		ch.sent = false // confirmed stays: the new confirmation tells those who were confirmed on the old one
	}
	b.startFlush()
	return b.conn
}

// pause grows from try to try: 50 ms to half a second, give or take a half. The zero pause is the one before the first.
type pause time.Duration

func (p *pause) next() time.Duration {
	*p = min(max(2**p, pause(50*time.Millisecond)), pause(500*time.Millisecond))
	return time.Duration(*p/2 + rand.N(*p))
}
