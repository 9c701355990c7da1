package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// addReplicas gives each primary of the cluster a replica.
func (s *store) addReplicas() {
	for _, primary := range s.cluster.Nodes {
		bus, err := freePort()
		if err != nil {
			s.harness.Fatal(err)
		}
		replica := redistest.Start(s.harness, redistest.Args("--cluster-enabled", "yes", "--cluster-port", bus,
			"--cluster-node-timeout", "5000", "--repl-diskless-sync-delay", "0"))
		s.servers = append(s.servers, replica)
		host, port, _ := strings.Cut(replica.Addr(), ":")
		primary.Do("CLUSTER", "MEET", host, port, bus)
		id := fmt.Sprint(primary.Do("CLUSTER", "MYID"))
		if err := until(context.Background(), func() bool {
			if !strings.Contains(fmt.Sprint(replica.Do("CLUSTER", "NODES")), id) {
				return false
			}
			replica.Do("CLUSTER", "REPLICATE", id)
			return true
		}); err != nil {
			s.harness.Fatal(err)
		}
	}
	for _, server := range s.servers {
		if err := until(context.Background(), func() bool {
			info := fmt.Sprint(server.Do("CLUSTER", "INFO"))
			role := fmt.Sprint(server.Do("INFO", "replication"))
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:6") &&
				(strings.Contains(role, "role:master") || strings.Contains(role, "master_link_status:up"))
		}); err != nil {
			s.harness.Fatal(err)
		}
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

func clusterFailover(ctx context.Context, s *stage, rng *rand.Rand, _ *injected) (func(context.Context) error, error) {
	var replicas []*redistest.Server
	for _, r := range s.store.servers {
		if role, ok := r.Do("ROLE").([]any); ok && len(role) > 0 && role[0] == "slave" {
			replicas = append(replicas, r)
		}
	}
	if len(replicas) == 0 {
		return nil, errors.New("the cluster has no replica")
	}
	r := replicas[rng.IntN(len(replicas))]
	// FORCE does not ask the primary, whose last writes are lost.
	r.Do("CLUSTER", "FAILOVER", "FORCE")
	return healed, until(ctx, func() bool {
		role, ok := r.Do("ROLE").([]any)
		return ok && len(role) > 0 && role[0] == "master"
	})
}

// migrateSlots moves two hundred slots as redis-cli --cluster reshard does
// (https://redis.io/docs/latest/commands/cluster-setslot/).
func migrateSlots(ctx context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	var primaries []*redistest.Server
	for _, r := range s.store.servers {
		if role, ok := r.Do("ROLE").([]any); ok && len(role) > 0 && role[0] == "master" {
			primaries = append(primaries, r)
		}
	}
	rng.Shuffle(len(primaries), func(i, j int) { primaries[i], primaries[j] = primaries[j], primaries[i] })
	from, to := primaries[0], primaries[1]
	fromID, toID := fmt.Sprint(from.Do("CLUSTER", "MYID")), fmt.Sprint(to.Do("CLUSTER", "MYID"))
	host, port, _ := strings.Cut(to.Addr(), ":")
	slots := slotsOf(fmt.Sprint(from.Do("CLUSTER", "NODES")), fromID)
	moved, keys := 0, 0
	for _, slot := range slots {
		if moved == 200 || ctx.Err() != nil {
			break
		}
		to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
		from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
		for {
			list, _ := from.Do("CLUSTER", "GETKEYSINSLOT", slot, 100).([]any)
			if len(list) == 0 {
				break
			}
			keys += len(list)
			from.Do(append([]any{"MIGRATE", host, port, "", 0, 5000, "REPLACE", "KEYS"}, list...)...)
		}
		to.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
		from.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
		moved++
	}
	f.Note = fmt.Sprintf("%d slots, %d keys", moved, keys)
	return healed, nil
}

// slotsOf reads a node's slots from the answer to CLUSTER NODES.
func slotsOf(nodes, id string) (slots []int) {
	for line := range strings.Lines(nodes) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != id {
			continue
		}
		for _, r := range fields[8:] {
			var a, b int
			if strings.HasPrefix(r, "[") {
				continue // on its way
			}
			if n, _ := fmt.Sscanf(r, "%d-%d", &a, &b); n == 1 {
				b = a
			} else if n == 0 {
				continue
			}
			for s := a; s <= b; s++ {
				slots = append(slots, s)
			}
		}
	}
	return slots
}
