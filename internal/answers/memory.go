package answers

import (
	"math"
	"slices"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// memory is what this process has seen of each identity, for when Redis is away.
type memory struct {
	seen       bounded.Cache[layout.ID, seen]
	partitions partitions
}

// seen is what this process has seen of an identity, last.
type seen struct {
	partitions []layout.ID
	answer     *Answer
	pause      *Answer // the fleet's
	own        *Answer // what this process alone has met
}

func newMemory(bytes int64) *memory {
	m := &memory{partitions: partitions{known: map[layout.ID]identities{}}}
	m.seen = bounded.New(otter.Options[layout.ID, seen]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ layout.ID, s seen) uint32 { return uint32(min(s.size(), math.MaxUint32)) },
		OnAtomicDeletion: func(e otter.DeletionEvent[layout.ID, seen]) {
			if e.Cause != otter.CauseReplacement { // which put has seen to
				m.partitions.move(e.Key, e.Value.partitions, nil)
			}
		},
	})
	return m
}

func (m *memory) of(identity layout.ID) seen {
	s, _ := m.seen.GetIfPresent(identity)
	return s
}

// put takes in an answer unless a newer one is known.
func (m *memory) put(identity layout.ID, partitions []layout.ID, a *Answer) {
	m.seen.Compute(identity, func(old seen, _ bool) (seen, otter.ComputeOp) {
		m.partitions.move(identity, old.partitions, partitions)
		old.partitions = partitions
		switch {
		case a.Good:
			if old.answer == nil || old.answer.Stamp <= a.Stamp {
				old.answer = a
			}
			old.pause, old.own = nil, nil
		case a.Own:
			old.own = a
		default:
			old.pause = a
		}
		return old, otter.WriteOp
	})
}

func (m *memory) endPause(identity layout.ID) {
	m.seen.ComputeIfPresent(identity, func(old seen) (seen, otter.ComputeOp) {
		old.pause, old.own = nil, nil
		return old, otter.WriteOp
	})
}

// takeBack takes back an answer that was asked for before what it belongs to was removed.
func (m *memory) takeBack(identity layout.ID, a *Answer) {
	m.seen.ComputeIfPresent(identity, func(old seen) (seen, otter.ComputeOp) {
		if old.answer == a {
			old.answer = nil
		}
		return old, otter.WriteOp
	})
}

// forget removes what belongs to a partition.
func (m *memory) forget(partition layout.ID) {
	for _, identity := range m.partitions.of(partition) {
		m.seen.ComputeIfPresent(identity, func(old seen) (seen, otter.ComputeOp) {
			if slices.Contains(old.partitions, partition) {
				return seen{}, otter.InvalidateOp
			}
			return old, otter.CancelOp // another answer has moved it meanwhile
		})
	}
}
