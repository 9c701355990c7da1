package record

import (
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Looked is Redis's answer to a look.
type Looked struct {
	Whole   bool  // it was asked for the record whole, because somebody asks to have it mended
	Same    bool  // the version is that which was known when it was asked, and there are no Entries
	Version int64 // 0: there is no record
	Removed layout.Tombstone
	Planted bool // there is a tombstone that is none of ours
	Entries map[string]Entry
	Damaged map[string]Damage
	At      redistime.Time
	Now     time.Duration // when Redis was asked, since the process's start
}

func (l Looked) apply(s *State, effects *Effects) {
	s.dropAged(l.At, l.Now)
	current := s.snapshot
	overtaken := current != nil && s.asOf > l.At && (s.checked != 0 || l.Removed.Latest() < current.Removed.Latest())
	s.learn(l.Removed, effects)
	effects.Bury = !l.Planted && unknownTo(l.Removed, s.snapshot.removed(), l.At)
	switch {
	case current != nil && current.Version == l.Version && (l.Same || !l.Whole && l.Version == 0 && current.Empty()):
		s.asOf = max(s.asOf, l.At)
		s.seen(l.Now)
		return
	case l.Same: // what is known has moved on while Redis was asked
		return
	case overtaken:
		return
	}
	next := &Snapshot{Version: l.Version, Removed: s.snapshot.removed(), Entries: make(map[string]Entry, len(l.Entries))}
	ended := s.Removed()
	for field, e := range l.Entries {
		if !e.EndedBy(ended) {
			next.Entries[field] = s.snapshot.later(e)
		}
	}
	s.whole = false
	s.restore(l, next, effects)
	s.overlay(next.Entries)
	s.snapshot, s.asOf = next, l.At
	s.seen(l.Now)
}

// unknownTo tells whether a removal is missing from a tombstone of Redis that should be there, already and still.
func unknownTo(there, known layout.Tombstone, at redistime.Time) bool {
	age := at.Sub(known.Latest())
	return !there.Covers(known) && age >= 0 && age < layout.TombstoneLife
}

// Heard is a removal of which another instance tells.
type Heard struct{ Removed layout.Tombstone }

func (h Heard) apply(s *State, effects *Effects) {
	if s.learn(h.Removed, effects) {
		s.asOf = max(s.asOf, h.Removed.Latest()) // the answer to a look may be on its way, and of before
	}
}

// Mend is that another instance asks for what it finds damaged.
type Mend struct{}

func (Mend) apply(s *State, _ *Effects) { s.whole = true }

// Put takes in a later refresh_on of tokens that the record has. It stays in this process.
type Put struct{ Same []Entry }

func (p Put) apply(s *State, _ *Effects) {
	if s.snapshot == nil {
		return
	}
	next := *s.snapshot
	next.Entries = nil
	for _, e := range p.Same {
		held, ok := s.snapshot.Entries[e.Field]
		if !ok || held.Secret != e.Secret || held.RefreshOn >= e.RefreshOn {
			continue
		}
		if next.Entries == nil {
			next.Entries = cloneOf(s.snapshot.Entries)
		}
		e.Stamp, e.Expiry, e.Session, e.Due = held.Stamp, held.Expiry, held.Session, held.Due
		next.Entries[e.Field] = e
	}
	if next.Entries != nil {
		s.snapshot = &next
	}
}
