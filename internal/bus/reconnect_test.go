package bus_test

import (
	"testing"
	"time"

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
