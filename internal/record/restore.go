package record

import (
	"errors"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Redis may lose what it has of a user: all of it (a restart), a record (eviction), the last writes to it (a failover),
// or sense of it (a value that was damaged). The refresh token may be known to nobody but the instances that had it in
// their hands, so they bring it back: each what it knows, the newer stays. What was removed is not brought back: it is
// not in a Snapshot.

// Damage is a value that cannot be read.
type Damage struct {
	Value string
	Err   error
}

// foreign tells whether the value is no damage, but what another version of the fleet wrote with a key or in a form
// that this one does not know, or a key vault is away that could open it.
func (d Damage) foreign() bool {
	for _, e := range []error{serializer.ErrAEAD, serializer.ErrUnknownKey, serializer.ErrVersion, serializer.ErrKind} {
		if errors.Is(d.Err, e) {
			return true
		}
	}
	return false
}

// repairs tells whether a held entry is what was there before the damage. A foreign value is newer than what this
// process holds, and none, unless its header, which every version can read, says otherwise.
func (d Damage) repairs(held Entry) bool {
	if !d.foreign() {
		return true
	}
	stamp, _, err := layout.ParseHeader(d.Value)
	return err == nil && redistime.Time(stamp) <= held.Stamp && !errors.Is(d.Err, serializer.ErrAEAD)
}

// restore adds to what was read what this process knows and Redis has lost. It has the others asked about damage that
// it cannot repair, unless the look is because one of them asks: who knows nothing is silent.
func (s *State) restore(l Looked, next *Snapshot, effects *Effects) {
	if s.Life == 0 {
		return
	}
	damaged := l.Damaged
	if s.remembers(l) {
		for _, e := range s.snapshot.Live(l.At) {
			there, ok := next.Entries[e.Field]
			d, bad := damaged[e.Field]
			if _, waits := s.unsaved[e.Field]; waits || ok && !e.Newer(there) {
				continue
			}
			// Also beside a value that cannot be read: a token that serves is better than none.
			next.Entries[e.Field] = e
			if bad && !d.repairs(e) {
				continue
			}
			if bad {
				effects.Discard = append(effects.Discard, e.Field, d.Value)
				delete(damaged, e.Field)
			}
			e.Began = 0 // its session is as Redis had it
			effects.Restore = append(effects.Restore, e)
		}
	}
	for _, d := range damaged {
		effects.AskMend = effects.AskMend || !l.Whole && !d.foreign()
	}
	if len(effects.Restore) > 0 && s.writing > 0 {
		// What else is missing shows when the write under way is done.
		effects.Restore, effects.Discard, s.whole = nil, nil, true
	}
}

// remembers tells whether what is held was there until Redis lost it.
//
// A removal that this process has not heard of must still have its tombstone, by either clock: this machine's stands
// still while it is suspended, and Redis's may be another server's. A record that nobody has used for its life has
// expired and is not lost; a look prolongs one only when a hundredth of that has passed.
func (s *State) remembers(l Looked) bool {
	within := min(s.Life-s.Life/100, layout.TombstoneLife)
	return s.snapshot != nil && !l.Planted && s.confirmed != 0 && l.Now-s.confirmed < within && l.At.Sub(s.asOf) < within
}

// aged tells whether a removal of an entry may have been forgotten before this process could hear of it: its session is
// older than a tombstone lives, and so is the last time that Redis has confirmed the record.
func (s *State) aged(e Entry, at redistime.Time, now time.Duration) bool {
	const life = layout.TombstoneLife
	return at.Sub(e.Session) >= life && s.confirmed != 0 && (now-s.confirmed >= life || at.Sub(s.asOf) >= life)
}

// dropAged drops what waits and is aged, before an answer of Redis confirms the record: after that nothing would tell.
func (s *State) dropAged(at redistime.Time, now time.Duration) {
	for field, e := range s.unsaved {
		if !s.aged(e, at, now) {
			continue
		}
		delete(s.unsaved, field)
		if held, ok := s.snapshot.Entry(field); ok && !held.Newer(e) {
			next := Snapshot{Removed: s.snapshot.Removed, Entries: cloneOf(s.snapshot.Entries)} // Redis may have an older one
			delete(next.Entries, field)
			s.snapshot, s.checked = &next, 0
		}
	}
}
