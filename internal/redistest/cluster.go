package redistest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Cluster is three primaries that share the 16,384 slots.
type Cluster struct {
	Nodes    []*Server // the primaries
	Replicas []*Server // of the node of the same index, after AddReplicas

	tb   testing.TB
	opts []Option
}

// StartCluster starts the nodes with opts and waits until each of them knows the others and finds the cluster whole.
// That takes two to four seconds: a fresh node refuses queries for the first two, whatever it knows
// (CLUSTER_WRITABLE_DELAY in cluster.c).
func StartCluster(tb testing.TB, opts ...Option) *Cluster {
	tb.Helper()
	const nodes, slots = 3, 16384
	c := &Cluster{tb: tb, opts: opts}
	for i := range nodes {
		n := startClusterNode(tb, opts...)
		// Distinct epochs, as redis-cli --cluster create gives them: else the nodes collide and sort it out by gossip.
		n.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		own := []any{"CLUSTER", "ADDSLOTS"} // ADDSLOTSRANGE is of Redis 7.0
		for slot := i * slots / nodes; slot < (i+1)*slots/nodes; slot++ {
			own = append(own, slot)
		}
		n.Do(own...)
		c.Nodes = append(c.Nodes, n)
	}
	for i, n := range c.Nodes {
		for _, other := range c.Nodes[:i] {
			host, port, _ := strings.Cut(other.Addr(), ":")
			n.Do("CLUSTER", "MEET", host, port, other.busPort())
		}
	}
	c.Wait()
	return c
}

// Wait waits until every node knows all the others and finds the cluster whole, as after a restart of its nodes.
func (c *Cluster) Wait() {
	c.tb.Helper()
	all := c.Servers()
	for _, n := range all {
		eventually(c.tb, "the cluster to be whole", func() error {
			v, err := n.try("CLUSTER", "INFO")
			if err != nil {
				return err
			}
			info := fmt.Sprint(v)
			for _, want := range []string{"cluster_state:ok", "cluster_slots_ok:16384",
				fmt.Sprint("cluster_known_nodes:", len(all))} {
				if !strings.Contains(info, want) {
					return errors.New(info)
				}
			}
			return nil
		})
	}
}

// Servers are the primaries and their replicas.
func (c *Cluster) Servers() []*Server { return slices.Concat(c.Nodes, c.Replicas) }

// AddReplicas gives every primary a replica, and waits until all nodes know them.
func (c *Cluster) AddReplicas() {
	c.tb.Helper()
	for range c.Nodes {
		r := startClusterNode(c.tb, append(slices.Clone(c.opts), Args("--repl-diskless-sync-delay", "0"))...)
		host, port, _ := strings.Cut(c.Nodes[0].Addr(), ":")
		r.Do("CLUSTER", "MEET", host, port, c.Nodes[0].busPort())
		c.Replicas = append(c.Replicas, r)
	}
	for i, r := range c.Replicas {
		id := fmt.Sprint(c.Nodes[i].Do("CLUSTER", "MYID"))
		eventually(c.tb, "the replica to know its primary", func() error {
			_, err := r.try("CLUSTER", "REPLICATE", id)
			return err
		})
	}
	for _, s := range c.Servers() {
		eventually(c.tb, "the replicas to follow", func() error {
			nodes, err := s.try("CLUSTER", "NODES")
			if err == nil && strings.Count(fmt.Sprint(nodes), "slave ") != len(c.Replicas) {
				err = errors.New(fmt.Sprint(nodes))
			}
			return err
		})
	}
	for _, r := range c.Replicas {
		eventually(c.tb, "the replica's link", func() error {
			v, err := r.try("INFO", "replication")
			if err == nil && !strings.Contains(fmt.Sprint(v), "master_link_status:up") {
				err = errors.New("the link is down")
			}
			return err
		})
	}
}

// startClusterNode takes a second free port for the bus: port+10000, the default, may be taken or not be a port at all.
// Before Redis 7.0 there is no other.
func startClusterNode(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	var last error
	for range 10 {
		args := []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "5000",
			"--cluster-require-full-coverage", "yes"}
		if !before(7, 0) {
			bus, err := freePort()
			if err != nil {
				tb.Fatal(err)
			}
			args = append(args, "--cluster-port", fmt.Sprint(bus))
		}
		s, err := Launch(append(slices.Clone(opts), Args(args...))...)
		if errors.Is(err, errPortTaken) || err != nil && before(7, 0) { // there port+10000 may be no port
			last = err
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		s.adopt(tb)
		return s
	}
	tb.Fatalf("redistest: found no free port for the cluster bus: %v", last)
	return nil
}

func (s *Server) busPort() int {
	if before(7, 0) {
		return s.proc.port + 10000
	}
	v := s.Do("CONFIG", "GET", "cluster-port")
	switch v := v.(type) {
	case map[any]any:
		return atoi(fmt.Sprint(v["cluster-port"]))
	case []any:
		return atoi(fmt.Sprint(v[1]))
	}
	return 0
}

// Addrs are the addresses of the primaries.
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
