package record

import (
	"maps"
	"slices"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// State is all that a process knows of a record. The zero State knows nothing.
//
//	unknown ──Looked──▶ current ◀──Looked── stale
//	                    │     ▲               ▲
//	                    │     └─ Writing, Stored by us alone
//	                    └─ Stored beside another, Removing, Heard of a removal that was not known
//
// current: Snapshot is the record as Redis had it at Checked. stale: it serves where Redis cannot be asked, and is
// looked at again before the next use. Mend leaves it as it is, and has the next look read the record whole.
type State struct {
	// Life is for how long a record that nobody uses is kept: what has expired so is not lost. 0: the record is not
	// restored.
	Life time.Duration

	snapshot  *Snapshot
	checked   time.Duration  // when Redis last confirmed the snapshot, since the process's start; 0: it is stale
	confirmed time.Duration  // when Redis last gave it, current or not; 0: it never did
	asOf      redistime.Time // Redis's time of what is known
	whole     bool           // the next look is for the record whole, whatever version is known
	writing   int            // writes under way: what they bring is not in Redis yet, and nothing that it has lost
	unsaved   map[string]Entry
	// removing is what this process is removing and Redis has not carried out. It may be dated by our own clock, so it is
	// not merged into what is removed before Redis says as of when.
	removing layout.Tombstone
}

// Event is something that happens to a record.
type Event interface{ apply(*State, *Effects) }

// Effects are what is to be done about an event.
type Effects struct {
	Write   []Entry // what of a write is to be sent; none: all of it has ended
	Restore []Entry // what Redis has lost, to be written back
	Discard []any   // field, value, ...: what cannot be read and is in the way of Restore
	AskMend bool    // something is damaged that this process does not know: others may
	Bury    bool    // Redis does not know of a removal that this process knows of
	Learnt  bool    // a removal was learnt of
}

// Apply is the one place where a State changes.
func (s *State) Apply(e Event) Effects {
	var effects Effects
	e.apply(s, &effects)
	return effects
}

// Snapshot is what is known now; nil: nothing.
func (s *State) Snapshot() *Snapshot { return s.snapshot }

// Checked is when Redis last confirmed the snapshot, since the process's start; 0: it is stale.
func (s *State) Checked() time.Duration { return s.checked }

// AsOf is Redis's time of what is known.
func (s *State) AsOf() redistime.Time { return s.asOf }

// Whole tells whether the next look must be for the record whole.
func (s *State) Whole() bool { return s.whole }

// Removed is all that is known to be removed, what this process is removing included.
func (s *State) Removed() layout.Tombstone { return s.snapshot.removed().Merge(s.removing) }

// Unsaved are the entries that wait to be written.
func (s *State) Unsaved() []Entry {
	return slices.Collect(maps.Values(s.unsaved))
}

// Latest is the latest session of what is held or waits, up to a time of Redis.
func (s *State) Latest(until redistime.Time) redistime.Time {
	latest := redistime.Time(0)
	note := func(e Entry) {
		if e.Session <= until {
			latest = max(latest, e.Session)
		}
	}
	for _, e := range s.unsaved {
		note(e)
	}
	if s.snapshot != nil {
		for _, e := range s.snapshot.Entries {
			note(e)
		}
	}
	return latest
}

// learn takes in that something was removed, and tells whether that is news.
func (s *State) learn(removed layout.Tombstone, effects *Effects) bool {
	known := s.snapshot.removed()
	if known.Covers(removed) {
		return false
	}
	effects.Learnt = true
	s.forget(known.Merge(removed))
	s.checked = 0
	return true
}

// forget leaves what is of after removed, and after what is being removed.
func (s *State) forget(removed layout.Tombstone) {
	next := Snapshot{Removed: removed, Entries: map[string]Entry{}}
	ended := removed.Merge(s.removing)
	if s.snapshot != nil {
		next.Version = s.snapshot.Version
		for field, e := range s.snapshot.Entries {
			if !e.EndedBy(ended) {
				next.Entries[field] = e
			}
		}
	}
	maps.DeleteFunc(s.unsaved, func(_ string, e Entry) bool { return e.EndedBy(ended) })
	s.snapshot = &next
}

// seen notes that Redis has confirmed the snapshot when it was asked at a time.
func (s *State) seen(at time.Duration) {
	s.confirmed, s.checked = max(s.confirmed, at), max(s.checked, at)
}

// overlay puts what waits to be written above what is read, and tells whether that makes a difference.
func (s *State) overlay(entries map[string]Entry) (changed bool) {
	for field, e := range s.unsaved {
		if held, ok := entries[field]; !ok || e.Newer(held) {
			entries[field], changed = e, true
		}
	}
	return changed
}

// withAccount adds the account itself to the write of a new refresh token. It never changes, and so would stay sealed
// with the key of the sign-in until that key is dropped, and the sign-in with it.
func withAccount(entries []Entry, s *Snapshot) []Entry {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Section == msaldoc.SectionRefreshToken })
	if i < 0 || s == nil {
		return entries
	}
	out := slices.Clone(entries)
	for field, e := range s.Entries {
		if e.Section == msaldoc.SectionAccount &&
			!slices.ContainsFunc(entries, func(x Entry) bool { return x.Field == field }) {
			// Its own stamp may be the later one, where Redis's clock has been measured better since. It takes the place of what
			// is there all the same.
			e.Stamp = max(e.Stamp+1, entries[i].Stamp)
			e.Session = max(e.Session, entries[i].Session)
			out = append(out, e)
		}
	}
	return out
}
