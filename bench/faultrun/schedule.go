package main

import (
	"cmp"
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

// schedule makes the faults of a run: those of the machines, and beside them those of neighbours, which leave the
// others as they were.
func schedule(seed uint64, topology string, length time.Duration, only []string, neighbours bool) []planned {
	of := func(stream uint64, neighbour bool) []planned {
		return shuffled(rand.New(rand.NewPCG(seed, stream)), length, func(k *kind) bool {
			chosen := slices.Contains(only, k.name) || len(only) == 0 && (neighbours || !k.neighbour)
			return chosen && k.neighbour == neighbour && k.in(topology)
		})
	}
	plan := append(of(1, false), of(3, true)...)
	slices.SortStableFunc(plan, func(a, b planned) int { return cmp.Compare(a.At, b.At) })
	return plan
}

// shuffled lets kinds come as from a pack of cards: all of them before one comes again. About a third begin before the
// one before has ended, if they take hold of another thing.
func shuffled(rng *rand.Rand, length time.Duration, chosen func(*kind) bool) []planned {
	var pack []*kind
	var plan []planned
	free := map[string]time.Duration{}
	at := time.Second
	for {
		if len(pack) == 0 {
			for _, k := range kinds {
				if chosen(k) {
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
