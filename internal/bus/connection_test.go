package bus_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// silence is how long the connection may say nothing before something is done about it.
const silence = 10 * time.Second

// bubbleOn runs f under a clock of its own, with a Redis in memory at the end of net.Pipes that wrap may change.
func bubbleOn(t *testing.T, wrap func(net.Conn) net.Conn, f func(t *testing.T, client *redis.Client)) {
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		defer m.Close()
		client := redis.NewClient(&redis.Options{
			Dialer: func(context.Context, string, string) (net.Conn, error) {
				c, err := m.Dial()
				if err != nil {
					return nil, err
				}
				return wrap(c), nil
			},
			Addr:                     "127.0.0.1:1", // an address, and no feature that looks one up: that would be a socket
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			DisableIdentity:          true, MaxRetries: -1,
		})
		defer client.Close()
		f(t, client)
	})
}

// bubble counts the connections that are made. The one that is next written to when silent is true is mute from then
// on.
func bubble(t *testing.T, f func(t *testing.T, client *redis.Client, made *atomic.Int32, silent *atomic.Bool)) {
	var made atomic.Int32
	var silent atomic.Bool
	wrap := func(c net.Conn) net.Conn {
		made.Add(1)
		return &mute{Conn: c, silent: &silent}
	}
	bubbleOn(t, wrap, func(t *testing.T, client *redis.Client) { f(t, client, &made, &silent) })
}

// mute is a connection that somebody on the way has forgotten: what is sent on it from then on gets nowhere.
type mute struct {
	net.Conn
	silent *atomic.Bool
	dead   atomic.Bool
}

func (m *mute) Write(p []byte) (int, error) {
	if m.dead.Load() || m.silent.CompareAndSwap(true, false) {
		m.dead.Store(true)
		return len(p), nil
	}
	return m.Conn.Write(p)
}

// A connection that says nothing is asked, and stays if it answers. One that does not is replaced, which is told.
func TestSilentConnectionIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, client *redis.Client, made *atomic.Int32, silent *atomic.Bool) {
		b := open(t, client)
		defer b.Close()
		s := subscribed(t, b, "c", 1)
		time.Sleep(time.Hour)
		if n := made.Load(); n != 1 {
			t.Fatalf("%d connections in an hour without a message", n)
		}
		if _, missed := s.Take(); missed {
			t.Error("told without cause")
		}
		silent.Store(true) // from the next ping on
		time.Sleep(3 * silence)
		synctest.Wait()
		if n := made.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
		if _, missed := s.Take(); !missed {
			t.Error("not told")
		}
		publish(t, client, "c", "m")
		hears(t, s, 1)
	})
}

// A connection that nobody needs ends, and the next subscription makes another.
func TestIdleConnectionEnds(t *testing.T) {
	bubble(t, func(t *testing.T, client *redis.Client, made *atomic.Int32, _ *atomic.Bool) {
		b := open(t, client)
		defer b.Close()
		s := subscribed(t, b, "c", 1)
		time.Sleep(silence / 2)
		s.Close()
		time.Sleep(silence / 2)
		s = subscribed(t, b, "d", 1)
		if n := made.Load(); n != 1 || len(running()) != 1 {
			t.Errorf("%d connections, %d goroutines", n, len(running()))
		}
		s.Close()
		time.Sleep(silence + time.Second)
		synctest.Wait()
		if left := running(); len(left) > 0 {
			t.Errorf("left running: %s", left)
		}
		subscribed(t, b, "c", 1)
		if n := made.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// breaks is a connection that ends at the next write when it is to.
type breaks struct {
	net.Conn
	next *atomic.Bool
}

func (b breaks) Write(p []byte) (int, error) {
	if b.next.CompareAndSwap(true, false) {
		_ = b.Conn.Close()
		return 0, net.ErrClosed
	}
	return b.Conn.Write(p)
}

// A connection that breaks as a channel is subscribed: go-redis makes another, and subscribes the others alone on it.
func TestSubscriptionOnABrokenConnectionIsSentAgain(t *testing.T) {
	var next atomic.Bool
	bubbleOn(t, func(c net.Conn) net.Conn { return breaks{c, &next} }, func(t *testing.T, client *redis.Client) {
		b := open(t, client)
		defer b.Close()
		subscribed(t, b, "one", 0)
		next.Store(true)
		s := subscribe(t, b, "another", 0)
		time.Sleep(time.Second)
		select {
		case <-s.Ready():
		default:
			t.Error("it is not confirmed")
		}
	})
}
