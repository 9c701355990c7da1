package layout

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Tombstone is what was removed of a partition, as of when: what was asked for before that is gone, wherever it is met,
// and what was asked for later is not concerned. Tombstones merge by the latest time, in any order, so that a removal
// may come late, or twice.
type Tombstone struct {
	Whole redistime.Time // all of it; 0: nothing
	// Early is by how much Whole is ahead of Redis's time when the removal was carried out: it is later than the sessions
	// that it ends, of which servers whose clocks differ, or a process with a bad idea of Redis's, may have dated some.
	Early time.Duration
	Some  []Forgotten // tokens of some scopes, by those
}

// Forgotten are the tokens of a partition that cover some scopes.
type Forgotten struct {
	Scopes string // as [HashScopes] makes it
	AsOf   redistime.Time
}

// forgottenAtMost bounds [Tombstone.Some] (signout.lua has the same bound): where there are more, all of the partition
// goes.
const forgottenAtMost = 32

// Ahead is what a time in Redis may be ahead of Redis's own, for its servers need not agree. What is of a later one
// somebody has made up, or a server whose clock was wrong.
const Ahead = 5 * time.Second

// HashScopes names scopes in a tombstone: a short hash of each, in order.
func HashScopes(scopes []string) string {
	hashes := make([]string, len(scopes))
	for i, s := range scopes {
		hashes[i] = string(HashID("scope", s))[:12]
	}
	slices.Sort(hashes)
	return strings.Join(slices.Compact(hashes), "+")
}

// ParseTombstone reads a tombstone at a time of Redis. One of a time to come is none.
//
// It begins with the latest of its times, which is all that scripts compare. Where it has no others, that is of the
// whole partition.
func ParseTombstone(text string, now redistime.Time) Tombstone {
	latest, rest, _ := strings.Cut(text, " ")
	var t Tombstone
	if !strings.Contains(rest, "=") {
		t.Whole = timeOf(latest)
	}
	for _, fact := range strings.Fields(rest) {
		scopes, at, _ := strings.Cut(fact, "=")
		if scopes == "*" {
			t.Whole = timeOf(at)
		} else if scopes == "early" {
			t.Early = time.Duration(min(timeOf(at), redistime.Time(Ahead.Microseconds()))) * time.Microsecond
		} else if at := timeOf(at); at > 0 && scopes != "" {
			t = t.Merge(Tombstone{Some: []Forgotten{{scopes, at}}})
		}
	}
	if t.Latest() > now.Add(Ahead) {
		return Tombstone{}
	}
	return t
}

func timeOf(digits string) redistime.Time {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > MaxStamp {
		return 0
	}
	return redistime.Time(n)
}

// String is the form in which it is kept and told.
func (t Tombstone) String() string {
	var b strings.Builder
	b.WriteString(strconv.FormatInt(t.Latest().Micros(), 10))
	if len(t.Some) == 0 && t.Early == 0 {
		return b.String()
	}
	for _, f := range t.Some {
		b.WriteString(" " + f.Scopes + "=" + strconv.FormatInt(f.AsOf.Micros(), 10))
	}
	if t.Whole > 0 {
		b.WriteString(" *=" + strconv.FormatInt(t.Whole.Micros(), 10))
	}
	if t.Early > 0 {
		b.WriteString(" early=" + strconv.FormatInt(t.Early.Microseconds(), 10))
	}
	return b.String()
}

// Latest is the latest of its times; 0: it is empty.
func (t Tombstone) Latest() redistime.Time {
	latest := t.Whole
	for _, f := range t.Some {
		latest = max(latest, f.AsOf)
	}
	return latest
}

// Merge is what both have removed.
func (t Tombstone) Merge(u Tombstone) Tombstone {
	if len(u.Some) == 0 && u.Whole <= t.Whole && u.written() <= t.written() {
		return t
	}
	whole, some := max(t.Whole, u.Whole), slices.Clone(t.Some)
	early := whole.Sub(max(t.written(), u.written()))
	for _, f := range u.Some {
		i, found := slices.BinarySearchFunc(some, f.Scopes, func(f Forgotten, scopes string) int {
			return cmp.Compare(f.Scopes, scopes)
		})
		if found {
			some[i].AsOf = max(some[i].AsOf, f.AsOf)
		} else {
			some = slices.Insert(some, i, f)
		}
	}
	some = slices.DeleteFunc(some, func(f Forgotten) bool { return f.AsOf <= whole })
	if len(some) == 0 {
		some = nil
	}
	if len(some) > forgottenAtMost {
		return Tombstone{Whole: Tombstone{Whole: whole, Some: some}.Latest()}
	}
	return Tombstone{Whole: whole, Early: early, Some: some}
}

// written is when Redis has carried out the last removal of all of it.
func (t Tombstone) written() redistime.Time { return t.Whole.Add(-t.Early) }

// Session is that of a sign-in which was asked for at a time, as Redis told it, and counts as of a session: one that
// was asked for when the removal had been carried out is of after it.
func (t Tombstone) Session(session, asked redistime.Time) redistime.Time {
	if session < t.Whole && asked >= t.written() && asked > 0 {
		return t.Whole
	}
	return session
}

// Covers tells whether t removes all that u does.
func (t Tombstone) Covers(u Tombstone) bool {
	both := t.Merge(u)
	return both.Whole == t.Whole && both.Early == t.Early && slices.Equal(both.Some, t.Some)
}

// Ends tells whether what was asked for at a time is gone. scopes are those of a token, by [HashScopes]; "": it has
// none.
func (t Tombstone) Ends(asked redistime.Time, scopes func() string) bool {
	if asked < t.Whole {
		return true
	}
	for _, f := range t.Some {
		if asked < f.AsOf && coversScopes(scopes(), f.Scopes) {
			return true
		}
	}
	return false
}

// coversScopes tells whether a token's scopes have all of those that were forgotten.
func coversScopes(token, forgotten string) bool {
	has := strings.Split(token, "+")
	for _, s := range strings.Split(forgotten, "+") {
		if !slices.Contains(has, s) {
			return false
		}
	}
	return token != ""
}
