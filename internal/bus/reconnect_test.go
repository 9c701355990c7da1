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

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// Each new connection is told to every subscriber, hears all channels again, and is the only one.
func TestEachReconnectionIsTold(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, server.Client())
	first, second := subscribed(t, b, "first", 10), subscribed(t, b, "second", 10)
	again := func(what string) {
		t.Helper()
		told(t, first)
		told(t, second)
		publish(t, server.Client(), "first", "of the first")
		publish(t, server.Client(), "second", "of the second")
		hears(t, first, 1)
		hears(t, second, 1)
		if n := len(connections(server)); n != 1 {
			t.Errorf("%s: %d connections", what, n)
		}
	}
	for range 3 {
		server.Do("CLIENT", "KILL", "TYPE", "pubsub")
		again("killed")
	}
	server.Restart()
	again("restarted")
	server.Kill()
	if s := subscribe(t, b, "third", 1); true {
		time.Sleep(300 * time.Millisecond) // for some tries that fail
		server.Restart()
		ready(t, s)
	}
	again("away for a while")
}

// A Redis that is away, or hangs, at the first subscription is heard, and told, when it comes.
func TestRedisAwayAtTheStart(t *testing.T) {
	for name, away := range map[string]struct{ begin, end func(*redistest.Server) }{
		"not there": {(*redistest.Server).Stop, (*redistest.Server).Restart},
		"hangs":     {(*redistest.Server).Freeze, (*redistest.Server).Thaw},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			b := open(t, server.Client())
			away.begin(server)
			s := subscribe(t, b, "c", 10)
			select {
			case <-s.Ready():
				t.Fatal("confirmed by nobody")
			case <-time.After(handshake * 3 / 2):
			}
			away.end(server)
			ready(t, s)
			told(t, s)
			eventually(t, "it hears, on one connection", func() bool {
				publish(t, server.Client(), "c", "m")
				heard, _ := s.Take()
				return len(heard) > 0 && len(connections(server)) == 1
			})
		})
	}
}

// On a cluster a message reaches the one connection from every node, and its node may come back as another server.
func TestCluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	b := open(t, cluster.Client())
	names := []string{"{a}", "{b}", "{c}", "{d}"} // of several slots
	for _, name := range names {
		subscribed(t, b, name, 0)
	}
	hear := subscribed(t, b, "changes", 100)
	holder := func() (node *redistest.Server) {
		t.Helper()
		for _, n := range cluster.Nodes {
			switch all := connections(n); {
			case len(all) > 1 || len(all) == 1 && node != nil:
				t.Errorf("more than one connection")
			case len(all) == 1:
				node = n
			}
		}
		if node == nil {
			t.Fatal("no connection")
		}
		return node
	}
	holder()
	for i, node := range cluster.Nodes {
		publish(t, node.Client(), "changes", "m")
		if hears(t, hear, 1); i == 2 {
			holder().Restart()
			cluster.Wait()
			told(t, hear)
		}
	}
	for _, node := range cluster.Nodes {
		eventually(t, "it hears every node again", func() bool {
			publish(t, node.Client(), "changes", "m")
			heard, _ := hear.Take()
			return len(heard) > 0
		})
	}
	holder()
}

// After a failover it hears the new primary.
func TestSentinelFailover(t *testing.T) {
	r := redistest.StartReplicated(t)
	b := open(t, r.FailoverClient())
	s := subscribed(t, b, "c", 10)
	publish(t, r.Primary.Client(), "c", "m")
	hears(t, s, 1)
	r.Failover()
	told(t, s)
	eventually(t, "it hears the new primary", func() bool {
		publish(t, r.Primary.Client(), "c", "m")
		heard, _ := s.Take()
		return len(heard) > 0
	})
}

// silence is how long the connection may say nothing before something is done about it.
const silence = 10 * time.Second

// bubble runs f under a clock of its own, with a Redis in memory at the end of net.Pipes. made counts its connections. The one
// that is next written to when silent is true is mute from then on.
func bubble(t *testing.T, f func(t *testing.T, client *redis.Client, made *atomic.Int32, silent *atomic.Bool)) {
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		defer m.Close()
		var made atomic.Int32
		var silent atomic.Bool
		client := redis.NewClient(&redis.Options{
			Dialer: func(context.Context, string, string) (net.Conn, error) {
				c, err := m.Dial()
				made.Add(1)
				return &mute{Conn: c, silent: &silent}, err
			},
			Addr:                     "127.0.0.1:1", // an address, and no feature that looks one up: that would be a socket
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			DisableIdentity:          true, MaxRetries: -1,
		})
		defer client.Close()
		f(t, client, &made, &silent)
	})
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
