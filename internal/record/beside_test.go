package record

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// lookAgain is Redis's answer to the next look: without entries where the version is the one that is known.
func lookAgain(s *State, version int64, at redistime.Time, removed layout.Tombstone, all ...Entry) Looked {
	if s.Snapshot() != nil && version > 0 && s.Snapshot().Version == version && !s.Whole() {
		return Looked{Same: true, Version: version, Removed: removed, At: at, Now: time.Duration(at)}
	}
	return Looked{Version: version, Entries: entries(all...), Removed: removed, At: at, Now: time.Duration(at)}
}

// What Redis does not take stands above what is read, also where a look came while Redis was asked to take it.
func TestWhatIsRefusedBesideALookIsKnown(t *testing.T) {
	for _, version := range []int64{0, 7} {
		s := State{Life: time.Hour}
		e := refreshToken(t, 3, 3)
		s.Apply(Writing{Entries: []Entry{e}, At: 4, Now: 4})
		s.Apply(lookAgain(&s, version, 5, whole(0)))
		s.Apply(Kept{Entries: []Entry{e}, Fits: true})
		s.Apply(Ended{})
		if got := says(&s); got != "current rt:3/3" && got != "stale rt:3/3" {
			t.Errorf("version %d: once it waits %q is known", version, got)
		}
		s.Apply(lookAgain(&s, version, 6, whole(0)))
		if got := says(&s); got != "current rt:3/3" {
			t.Errorf("version %d: after the next look %q is known", version, got)
		}
	}
}

// What a removal that is under way has hidden comes back when Redis has carried it out as of an earlier time.
func TestWhatARemovalHasHiddenComesBack(t *testing.T) {
	s := State{Life: time.Hour}
	s.Apply(Removing{whole(25)})
	s.Apply(lookAgain(&s, 2, 24, whole(0), refreshToken(t, 22, 22)))
	s.Apply(Carried{Asked: whole(25), Removed: whole(20), At: 30})
	s.Apply(lookAgain(&s, 2, 40, whole(20), refreshToken(t, 22, 22)))
	if got := says(&s); got != "current rt:22/22" {
		t.Errorf("%q is known", got)
	}
}

// A look in between does not make what has waited for a tombstone's life younger.
func TestWhatHasWaitedForATombstonesLifeIsNotPushedAfterALook(t *testing.T) {
	life := redistime.Time(layout.TombstoneLife.Microseconds())
	for _, version := range []int64{1, 5} {
		s := State{Life: 90 * 24 * time.Hour}
		s.Apply(lookAgain(&s, 1, 10, whole(0)))
		e := refreshToken(t, 20, 20)
		s.Apply(Writing{Entries: []Entry{e}, At: 20, Now: 20})
		s.Apply(Kept{Entries: []Entry{e}, Fits: true})
		s.Apply(Ended{})
		s.Apply(Looked{Same: version == 1, Version: version, At: life + 30, Now: layout.TombstoneLife + 30})
		if got := says(&s); got != "current" && got != "stale" {
			t.Errorf("version %d: %q is known", version, got)
		}
		if n := len(s.Unsaved()); n > 0 {
			t.Errorf("version %d: %d wait", version, n)
		}
	}
}

// Of a write of which some has grown too old the rest goes on waiting until it is stored.
func TestRestOfAWriteGoesOnWaiting(t *testing.T) {
	s := State{Life: time.Hour}
	a, b := entry(t, msaldoc.SectionRefreshToken, "a", 3, 3), entry(t, msaldoc.SectionRefreshToken, "b", 30, 30)
	s.Apply(Kept{Entries: []Entry{b}, Fits: true})
	s.Apply(Heard{whole(20)})
	s.Apply(Writing{Entries: []Entry{a, b}, At: 40, Now: 40})
	s.Apply(lookAgain(&s, 9, 41, whole(20)))
	if got := says(&s); got != "current b:30/30" {
		t.Errorf("%q is known", got)
	}
}
