package record

import (
	"maps"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Writing is that entries are about to be written. They are known at once; Effects.Write is what to send: less what has
// ended.
type Writing struct {
	Entries []Entry
	At      redistime.Time
	Now     time.Duration // since the process's start
}

func (w Writing) apply(s *State, effects *Effects) {
	ended := s.Removed()
	var left []Entry
	for _, e := range w.Entries {
		if e.EndedBy(ended) || s.aged(e, w.At, w.Now) {
			left = append(left, e)
		} else {
			effects.Write = append(effects.Write, e)
		}
	}
	s.settle(left)
	if len(effects.Write) == 0 {
		return
	}
	effects.Write = withAccount(effects.Write, s.snapshot)
	next := &Snapshot{Removed: s.snapshot.removed(), Entries: map[string]Entry{}}
	if s.snapshot != nil {
		next.Version, next.Entries = s.snapshot.Version, cloneOf(s.snapshot.Entries)
	}
	for _, e := range effects.Write {
		if held, ok := next.Entries[e.Field]; !ok || e.Newer(held) {
			next.Entries[e.Field] = e
		}
	}
	s.snapshot = next
	s.writing++
}

// Stored is Redis's answer to a write that began with Writing.
type Stored struct {
	Entries         []Entry
	Assumed         *Snapshot // what was known with the entries in it
	Version, Before int64     // of the record, after and before
	Applied         bool      // all of the entries; else there is a newer one
	Removed         layout.Tombstone
	At              redistime.Time
	Now             time.Duration
}

func (w Stored) apply(s *State, effects *Effects) {
	s.settle(w.Entries)
	s.dropAged(w.At, w.Now)
	s.confirmed = w.Now
	current := s.snapshot
	news := s.learn(w.Removed, effects)
	effects.Bury = unknownTo(w.Removed, s.snapshot.removed(), w.At)
	if news || current != w.Assumed || w.Before != w.Assumed.Version || !w.Applied {
		// Somebody else wrote too: what we hold is not the record at the new version.
		s.checked = 0
		return
	}
	s.snapshot = &Snapshot{Version: w.Version, Removed: current.Removed, Entries: current.Entries}
	s.asOf = max(s.asOf, w.At)
	s.seen(w.Now)
}

// Refused is Redis's answer to a write whose writer did not know of a removal. What that has not ended is written
// again.
type Refused struct {
	Removed layout.Tombstone
	At      redistime.Time
}

func (r Refused) apply(s *State, effects *Effects) {
	s.learn(r.Removed, effects)
	s.asOf = max(s.asOf, r.At)
	s.checked = 0
}

// Ended is that a write is over, however it went.
type Ended struct{}

func (Ended) apply(s *State, _ *Effects) { s.writing-- }

// Kept is that entries could not be written and wait. Where no more may wait, what is new of them is dropped; what
// waits already stays, and a later state of it takes its place.
type Kept struct {
	Entries []Entry
	Fits    bool
}

func (k Kept) apply(s *State, _ *Effects) {
	ended := s.Removed()
	if s.unsaved == nil {
		s.unsaved = map[string]Entry{}
	}
	for _, e := range k.Entries {
		held, ok := s.unsaved[e.Field]
		if !e.EndedBy(ended) && (ok && e.Newer(held) || !ok && k.Fits) {
			s.unsaved[e.Field] = e
		}
	}
	if s.snapshot == nil {
		return
	}
	// A look may have come while Redis was asked to take them, and the next may find its version unchanged.
	next := *s.snapshot
	next.Entries = cloneOf(next.Entries)
	if s.overlay(next.Entries) {
		s.snapshot = &next
	}
}

// Removing is that this process removes something: what that ends is forgotten here at once.
type Removing struct{ Removed layout.Tombstone }

func (r Removing) apply(s *State, _ *Effects) {
	s.removing = s.removing.Merge(r.Removed)
	s.forget(s.snapshot.removed())
	s.snapshot.Version = 0 // what is left is not the record at its version any more
	s.checked = 0
}

// Carried is that Redis has carried out what began with Removing.
type Carried struct {
	Asked   layout.Tombstone // as Removing had it
	Removed layout.Tombstone // as Redis says
	At      redistime.Time
}

func (c Carried) apply(s *State, effects *Effects) {
	if c.Asked.Covers(s.removing) { // else there is a later one
		s.removing = layout.Tombstone{}
	}
	s.learn(c.Removed, effects)
	s.forget(s.snapshot.removed())
	s.snapshot.Version = 0 // it may be as of an earlier time than it was taken for: what it has hidden must be read again
	s.asOf = max(s.asOf, c.At)
	s.checked = 0
}

// settle takes back what waited of entries that were written.
func (s *State) settle(entries []Entry) {
	for _, e := range entries {
		if held, ok := s.unsaved[e.Field]; ok && !held.Newer(e) {
			delete(s.unsaved, e.Field)
		}
	}
}

func cloneOf(entries map[string]Entry) map[string]Entry {
	if entries == nil {
		return map[string]Entry{}
	}
	return maps.Clone(entries)
}
