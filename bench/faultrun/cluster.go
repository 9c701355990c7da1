package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/workers"
)

// agreed waits until all nodes of a cluster have one view of it, by which it is whole, and every replica follows an
// owner of slots. After a failover they need a moment for that: the old primary takes itself for one until it hears of
// the new one. And Redis promotes no replica that has not followed for a while (cluster-replica-validity-factor).
func (s *store) agreed(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	var why string
	if err := until(ctx, func() bool {
		why = s.disagreement()
		return why == ""
	}); err != nil {
		return fmt.Errorf("the cluster does not recover (%s): %w", why, err)
	}
	return nil
}

// disagreement is what a cluster lacks to be whole; "": nothing.
func (s *store) disagreement() string {
	var owners string
	for i, r := range s.servers {
		if !strings.Contains(fmt.Sprint(r.Do("CLUSTER", "INFO")), "cluster_state:ok") {
			return r.Addr() + " says that the cluster is down"
		}
		nodes := fmt.Sprint(r.Do("CLUSTER", "NODES"))
		seen := ownersOf(nodes)
		if i == 0 {
			owners = seen
		}
		if seen != owners {
			return r.Addr() + " has another view of the cluster than " + s.servers[0].Addr()
		}
		role, _ := r.Do("ROLE").([]any)
		owns := len(slotsOf(nodes, fmt.Sprint(r.Do("CLUSTER", "MYID")))) > 0
		switch {
		case len(role) == 0:
			return r.Addr() + " does not say its role"
		case role[0] == "master" && !owns:
			return r.Addr() + " is a primary without slots"
		case role[0] != "master" && (len(role) < 4 || role[3] != "connected"):
			return r.Addr() + " does not follow its primary"
		}
	}
	return ""
}

// ownersOf is a node's view of the cluster, from its answer to CLUSTER NODES: who owns which slots, and who follows
// whom.
func ownersOf(nodes string) string {
	var view []string
	for line := range strings.Lines(nodes) {
		if fields := strings.Fields(line); len(fields) >= 8 {
			primary := fields[3]
			view = append(view, strings.Join(append([]string{fields[0], primary}, fields[8:]...), " "))
		}
	}
	slices.Sort(view)
	return strings.Join(view, "\n")
}

// whole does something again while the cluster says that it is down, as on a machine too busy for its nodes to hear of
// each other in time.
func (s *store) whole(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || !strings.HasPrefix(err.Error(), "CLUSTERDOWN") || !workers.Sleep(ctx, 100*time.Millisecond) {
			return err
		}
		if err := s.agreed(ctx); err != nil {
			return err
		}
	}
}

func clusterFailover(ctx context.Context, s *stage, rng *rand.Rand, _ *injected) (func(context.Context) error, error) {
	// One that follows its primary: Redis does not promote others by itself either, who may lack minutes
	// (cluster-replica-validity-factor).
	var replicas []*redistest.Server
	if err := until(ctx, func() bool {
		for _, r := range s.store.servers {
			if role, ok := r.Do("ROLE").([]any); ok && len(role) > 3 && role[0] == "slave" && role[3] == "connected" {
				replicas = append(replicas, r)
			}
		}
		return len(replicas) > 0
	}); err != nil {
		return nil, fmt.Errorf("the cluster has no replica that follows: %w", err)
	}
	r := replicas[rng.IntN(len(replicas))]
	var asked time.Time
	if err := until(ctx, func() bool {
		// FORCE does not ask the primary, whose last writes are lost. The other primaries do not vote twice for one shard
		// within two node timeouts, and Redis gives a failover up after five seconds (CLUSTER_MF_TIMEOUT in cluster.c).
		if time.Since(asked) > 6*time.Second {
			asked = time.Now()
			r.Do("CLUSTER", "FAILOVER", "FORCE")
		}
		role, ok := r.Do("ROLE").([]any)
		return ok && len(role) > 0 && role[0] == "master"
	}); err != nil {
		return nil, fmt.Errorf("the replica is not voted for: %w", err)
	}
	return s.store.agreed, nil // it is over when the old primary follows the new one
}

// killClusterPrimary: the others give up on a primary after the node timeout, and its replica asks them for their
// votes.
func killClusterPrimary(
	ctx context.Context, s *stage, rng *rand.Rand, _ *injected,
) (func(context.Context) error, error) {
	// The usual 5 s are too long for a run; less than them all the time would make a busy machine look like a failure.
	timeout := func(ms int) {
		for _, r := range s.store.servers {
			r.Do("CONFIG", "SET", "cluster-node-timeout", ms)
		}
	}
	timeout(1500)
	old := s.store.primary(rng)
	id := fmt.Sprint(old.Do("CLUSTER", "MYID"))
	old.Kill()
	alive := slices.DeleteFunc(slices.Clone(s.store.servers), func(r *redistest.Server) bool { return r == old })
	if err := until(ctx, func() bool {
		return !slices.ContainsFunc(alive, func(r *redistest.Server) bool {
			nodes := fmt.Sprint(r.Do("CLUSTER", "NODES"))
			return len(slotsOf(nodes, id)) > 0 || !strings.Contains(fmt.Sprint(r.Do("CLUSTER", "INFO")), "cluster_state:ok")
		})
	}); err != nil {
		return nil, fmt.Errorf("the others do not replace it: %w", err)
	}
	return func(ctx context.Context) error {
		old.Restart()
		timeout(5000)
		return s.store.agreed(ctx)
	}, nil
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
