package answers

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// memory is what this process has seen of each identity, for when Redis is away or has confirmed it just now.
type memory struct {
	seen       bounded.Cache[layout.ID, seen] // written in change alone
	partitions partitions
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

// of are the partitions with whose removal it goes.
func (s seen) of() []layout.ID {
	if len(s.listed) == 0 || slices.Equal(s.listed, s.partitions) {
		return s.partitions
	}
	return slices.Concat(s.partitions, s.listed)
}

func newMemory(bytes int64) *memory {
	m := &memory{partitions: partitions{known: map[layout.ID]identities{}}}
	m.seen = bounded.New(otter.Options[layout.ID, seen]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ layout.ID, s seen) uint32 { return uint32(min(s.size(), math.MaxUint32)) },
		OnAtomicDeletion: func(e otter.DeletionEvent[layout.ID, seen]) {
			if e.Cause != otter.CauseReplacement { // which change has seen to
				m.partitions.move(e.Key, e.Value.of(), nil)
			}
		},
	})
	return m
}

func (m *memory) of(identity layout.ID) seen {
	s, _ := m.seen.GetIfPresent(identity)
	return s
}

// change changes what is seen of an identity, which finds it by its partitions; false: it has changed nothing.
func (m *memory) change(identity layout.ID, change func(*seen) bool) {
	m.seen.Compute(identity, func(old seen, _ bool) (seen, otter.ComputeOp) {
		next := old
		if !change(&next) {
			return old, otter.CancelOp
		}
		m.partitions.move(identity, old.of(), next.of())
		return next, otter.WriteOp
	})
}

// put takes in an answer unless a newer one is known.
func (m *memory) put(identity layout.ID, partitions []layout.ID, a *Answer) {
	m.change(identity, func(s *seen) bool {
		s.partitions = partitions
		switch {
		case a.Good:
			if s.answer == nil || s.answer.Stamp <= a.Stamp {
				s.answer, s.confirmed = a, 0
			}
			s.pause, s.own = nil, nil
		case a.Own:
			s.own = a
		default:
			s.pause = a
		}
		return true
	})
}

func (m *memory) endPause(identity layout.ID) {
	m.change(identity, func(s *seen) bool {
		paused := s.pause != nil || s.own != nil
		s.pause, s.own = nil, nil
		return paused
	})
}

// takeBack takes back an answer that was asked for before what it belongs to was removed.
func (m *memory) takeBack(identity layout.ID, a *Answer) {
	m.change(identity, func(s *seen) bool {
		if s.answer != a {
			return false
		}
		s.answer, s.confirmed = nil, 0
		return true
	})
}

// kept notes that Redis has taken an answer, which was sent to it at a time.
func (m *memory) kept(identity layout.ID, a *Answer, at time.Duration) {
	m.change(identity, func(s *seen) bool {
		if s.answer != a || at <= s.removed {
			return false
		}
		s.confirmed = max(s.confirmed, at)
		return true
	})
}

// confirm takes in what Redis has of an identity, which it was asked at a time. nil: no answer. It says nothing of
// pauses.
func (m *memory) confirm(identity layout.ID, partitions []layout.ID, a *Answer, at time.Duration) {
	m.change(identity, func(s *seen) bool {
		switch known := s.answer; {
		case at <= s.removed, a == nil && known == nil:
			return false
		case a != nil && known != nil && known.Stamp == a.Stamp && bytes.Equal(known.Body, a.Body):
			s.confirmed = max(s.confirmed, at)
		case a != nil && (known == nil || known.Stamp <= a.Stamp):
			s.partitions, s.answer, s.confirmed, s.listed = partitions, a, at, nil
		case at > s.confirmed:
			s.confirmed = 0 // it has no answer, or an older one than what waits to be kept
		}
		return true
	})
}

// list notes which partitions of an answer are listed with one another.
func (m *memory) list(identity layout.ID, partitions []layout.ID) {
	m.change(identity, func(s *seen) bool {
		s.listed = partitions
		return true
	})
}

// remove removes the answer of an identity at a time.
func (m *memory) remove(identity layout.ID, at time.Duration) {
	m.change(identity, func(s *seen) bool {
		*s = seen{removed: at}
		return true
	})
}

// forget removes what belongs to a partition, at a time.
func (m *memory) forget(partition layout.ID, at time.Duration) {
	for _, identity := range m.partitions.of(partition) {
		m.change(identity, func(s *seen) bool {
			if !slices.Contains(s.of(), partition) {
				return false // another answer has moved it meanwhile
			}
			*s = seen{removed: at}
			return true
		})
	}
}
