package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// planned is a fault of the schedule.
type planned struct {
	At   time.Duration // since the load began
	Kind string
	Hold time.Duration
	Seed uint64 // of the choices it makes when it is injected
}

// schedule makes the faults of a run. Kinds come as from a pack of cards: all of them before one comes again. About
// a third begin before the one before has ended, if they take hold of another thing.
func schedule(seed uint64, topology string, length time.Duration, only []string) []planned {
	rng := rand.New(rand.NewPCG(seed, 1))
	var pack []*kind
	var plan []planned
	free := map[string]time.Duration{}
	at := time.Second
	for {
		if len(pack) == 0 {
			for _, k := range kinds {
				if k.in(topology) && (len(only) == 0 || slices.Contains(only, k.name)) {
					pack = append(pack, k)
				}
			}
			if len(pack) == 0 {
				return nil
			}
			rng.Shuffle(len(pack), func(i, j int) { pack[i], pack[j] = pack[j], pack[i] })
		}
		k := pack[0]
		pack = pack[1:]
		hold := k.hold[0]
		if more := k.hold[1] - k.hold[0]; more > 0 {
			hold += time.Duration(rng.Int64N(int64(more)))
		}
		gap := 300*time.Millisecond + time.Duration(rng.Int64N(int64(900*time.Millisecond)))
		overlaps := rng.IntN(3) == 0
		begin := max(at, free[k.on])
		if begin+hold > length {
			return plan
		}
		plan = append(plan, planned{begin, k.name, hold, rng.Uint64()})
		free[k.on] = begin + hold + 300*time.Millisecond
		at = begin + gap
		if !overlaps {
			at += hold
		}
	}
}
