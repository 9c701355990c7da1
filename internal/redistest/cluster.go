package redistest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Cluster is three primaries that share the 16,384 slots.
type Cluster struct{ Nodes []*Server }

// StartCluster starts the nodes and waits until each of them knows the others and finds the cluster whole. That takes two
// to four seconds: a fresh node refuses queries for the first two, whatever it knows (CLUSTER_WRITABLE_DELAY in cluster.c).
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	const nodes, slots = 3, 16384
	c := &Cluster{}
	for i := range nodes {
		n := startClusterNode(tb)
		// Distinct epochs, as redis-cli --cluster create gives them: else the nodes collide and sort it out by gossip.
		n.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		n.Do("CLUSTER", "ADDSLOTSRANGE", i*slots/nodes, (i+1)*slots/nodes-1)
		c.Nodes = append(c.Nodes, n)
	}
	for i, n := range c.Nodes {
		for _, other := range c.Nodes[:i] {
			host, port, _ := strings.Cut(other.Addr(), ":")
			n.Do("CLUSTER", "MEET", host, port, other.busPort())
		}
	}
	for _, n := range c.Nodes {
		eventually(tb, "the cluster to form", func() error {
			info := fmt.Sprint(n.Do("CLUSTER", "INFO"))
			for _, want := range []string{"cluster_state:ok", "cluster_slots_assigned:16384", "cluster_known_nodes:3"} {
				if !strings.Contains(info, want) {
					return errors.New(info)
				}
			}
			return nil
		})
	}
	return c
}

// startClusterNode takes a second free port for the bus: port+10000, the default, may be taken or not be a port at all.
func startClusterNode(tb testing.TB) *Server {
	tb.Helper()
	for range 10 {
		bus, err := freePort()
		if err != nil {
			tb.Fatal(err)
		}
		s, err := Launch(Args("--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(bus),
			"--cluster-node-timeout", "5000", "--cluster-require-full-coverage", "yes"))
		if errors.Is(err, errPortTaken) {
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		s.adopt(tb)
		return s
	}
	tb.Fatal("redistest: found no free port for the cluster bus")
	return nil
}

func (s *Server) busPort() int {
	v := s.Do("CONFIG", "GET", "cluster-port")
	switch v := v.(type) {
	case map[any]any:
		return atoi(fmt.Sprint(v["cluster-port"]))
	case []any:
		return atoi(fmt.Sprint(v[1]))
	}
	return 0
}

// Addrs are the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	return addrs
}

// Client is a new client of the whole cluster, closed with the test.
func (c *Cluster) Client() *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), ContextTimeoutEnabled: true})
	c.Nodes[0].closeLater(client)
	return client
}
