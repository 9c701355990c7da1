package answers

import (
	"bytes"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// memory is what this process has seen of each identity, for when Redis is away or has confirmed it just now.
type memory struct {
	seen bounded.Cache[layout.ID, seen]
}

// seen is what this process has seen of an identity, last.
type seen struct {
	partitions []layout.ID
	answer     *Answer
	confirmed  time.Duration // when Redis last had answer, at the least, since the process's start; 0: it need not
	removed    time.Duration // when the answer was last removed here: what was asked before says nothing of now
	listed     []layout.ID   // the partitions under which a removal of one finds the others, see [Shared.ListNames]
	pause      *Answer       // the fleet's
	own        *Answer       // what this process alone has met
}

func newMemory(bytes int64) *memory {
	return &memory{bounded.New(otter.Options[layout.ID, seen]{
		MaximumWeight: uint64(bytes),
		Weigher: func(_ layout.ID, s seen) uint32 {
			size := 512
			for _, a := range []*Answer{s.answer, s.pause, s.own} {
				if a != nil {
					size += len(a.Body)
				}
			}
			return uint32(size)
		},
	})}
}

func (m *memory) of(identity layout.ID) seen {
	s, _ := m.seen.GetIfPresent(identity)
	return s
}

// put takes in an answer unless a newer one is known.
func (m *memory) put(identity layout.ID, partitions []layout.ID, a *Answer) {
	m.seen.Compute(identity, func(old seen, _ bool) (seen, otter.ComputeOp) {
		old.partitions = partitions
		switch {
		case a.Good:
			if old.answer == nil || old.answer.Stamp <= a.Stamp {
				old.answer, old.confirmed = a, 0
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
			old.answer, old.confirmed = nil, 0
		}
		return old, otter.WriteOp
	})
}

// kept notes that Redis has taken an answer, which was sent to it at a time.
func (m *memory) kept(identity layout.ID, a *Answer, at time.Duration) {
	m.seen.ComputeIfPresent(identity, func(old seen) (seen, otter.ComputeOp) {
		if old.answer != a || at <= old.removed {
			return old, otter.CancelOp
		}
		old.confirmed = max(old.confirmed, at)
		return old, otter.WriteOp
	})
}

// confirm takes in what Redis has of an identity, which it was asked at a time. nil: no answer. It says nothing of
// pauses.
func (m *memory) confirm(identity layout.ID, partitions []layout.ID, a *Answer, at time.Duration) {
	m.seen.Compute(identity, func(old seen, found bool) (seen, otter.ComputeOp) {
		switch known := old.answer; {
		case at <= old.removed, a == nil && known == nil:
			return old, otter.CancelOp
		case a != nil && known != nil && known.Stamp == a.Stamp && bytes.Equal(known.Body, a.Body):
			old.confirmed = max(old.confirmed, at)
		case a != nil && (known == nil || known.Stamp <= a.Stamp):
			old.partitions, old.answer, old.confirmed, old.listed = partitions, a, at, nil
		case at > old.confirmed:
			old.confirmed = 0 // it has no answer, or an older one than what waits to be kept
		}
		return old, otter.WriteOp
	})
}

// list notes which partitions of an answer are listed with one another.
func (m *memory) list(identity layout.ID, partitions []layout.ID) {
	m.seen.Compute(identity, func(old seen, _ bool) (seen, otter.ComputeOp) {
		old.listed = partitions
		return old, otter.WriteOp
	})
}

// remove removes the answer of an identity at a time.
func (m *memory) remove(identity layout.ID, at time.Duration) {
	m.seen.Set(identity, seen{removed: at})
}

// forget removes what belongs to a partition.
func (m *memory) forget(partition layout.ID) {
	for identity, s := range m.seen.All() {
		if slices.Contains(s.partitions, partition) || slices.Contains(s.listed, partition) {
			m.seen.Invalidate(identity)
		}
	}
}
