package layout_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

func some(facts ...any) (all []layout.Forgotten) {
	for i := 0; i < len(facts); i += 2 {
		all = append(all, layout.Forgotten{Scopes: facts[i].(string), AsOf: redistime.Time(facts[i+1].(int))})
	}
	return all
}

// What was asked for before a removal is gone, what was asked for at that time or later is not; of tokens of some
// scopes those go that have all of these.
func TestTombstoneEnds(t *testing.T) {
	a, b := layout.HashScopes([]string{"a"}), layout.HashScopes([]string{"b"})
	both := layout.HashScopes([]string{"b", "a"})
	for _, c := range []struct {
		what   string
		t      layout.Tombstone
		asked  redistime.Time
		scopes string
		want   bool
	}{
		{"nothing removed", layout.Tombstone{}, 0, a, false},
		{"before all", layout.Tombstone{Whole: 10}, 9, "", true},
		{"with all", layout.Tombstone{Whole: 10}, 10, "", false},
		{"before some, its own", layout.Tombstone{Some: some(a, 10)}, 9, a, true},
		{"before some, more than those", layout.Tombstone{Some: some(a, 10)}, 9, both, true},
		{"before some, others", layout.Tombstone{Some: some(a, 10)}, 9, b, false},
		{"before some, one of two", layout.Tombstone{Some: some(both, 10)}, 9, a, false},
		{"before some, of none", layout.Tombstone{Some: some(a, 10)}, 9, "", false},
		{"with some", layout.Tombstone{Some: some(a, 10)}, 10, a, false},
		{"between all and some", layout.Tombstone{Whole: 5, Some: some(a, 10)}, 7, a, true},
		{"between all and some, others", layout.Tombstone{Whole: 5, Some: some(a, 10)}, 7, b, false},
	} {
		if got := c.t.Ends(c.asked, func() string { return c.scopes }); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// A sign-in that was asked for when the removal had been carried out is of after it, though that is as of a later time.
func TestSessionAfterAnEarlyTombstone(t *testing.T) {
	early := layout.Tombstone{Whole: 1000, Early: 400 * time.Microsecond}
	for _, c := range []struct{ session, asked, want redistime.Time }{
		{599, 599, 599}, {600, 600, 1000}, {700, 599, 700}, {700, 600, 1000}, {1001, 600, 1001}, {700, 0, 700},
	} {
		if got := early.Session(c.session, c.asked); got != c.want {
			t.Errorf("session %d, asked at %d: %d, want %d", c.session, c.asked, got, c.want)
		}
	}
}

// Tombstones merge in any order, also twice, and come back from their text.
func TestTombstonesMergeInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() layout.Tombstone {
		var t layout.Tombstone
		if rng.IntN(2) == 0 {
			t.Whole = redistime.Time(1 + rng.IntN(9))
			t.Early = min(time.Duration(rng.IntN(3))*time.Microsecond, time.Duration(t.Whole-1)*time.Microsecond)
		}
		for range rng.IntN(3) {
			t = t.Merge(layout.Tombstone{Some: some(strings.Repeat("s", 1+rng.IntN(3)), 1+rng.IntN(9))})
		}
		return t
	}
	for range 20_000 {
		a, b, c := random(), random(), random()
		ab := a.Merge(b)
		if !reflect.DeepEqual(ab, b.Merge(a)) || !reflect.DeepEqual(ab.Merge(c), a.Merge(b.Merge(c))) ||
			!reflect.DeepEqual(ab.Merge(b), ab) {
			t.Fatalf("%v %v %v", a, b, c)
		}
		if !ab.Covers(a) || !ab.Covers(b) || ab.Latest() != max(a.Latest(), b.Latest()) {
			t.Fatalf("%v and %v: %v", a, b, ab)
		}
		if got := layout.ParseTombstone(ab.String(), 10); ab.Latest() > 0 && !reflect.DeepEqual(got, ab) {
			t.Fatalf("%q is %v, want %v", ab.String(), got, ab)
		}
	}
}

// Of more scopes than are kept apart all goes.
func TestTombstoneIsBounded(t *testing.T) {
	var all layout.Tombstone
	for i := range 40 {
		all = all.Merge(layout.Tombstone{Some: some(strings.Repeat("x", i+1), 100+i)})
	}
	if all.Whole < 132 || len(all.Some) > 32 {
		t.Errorf("%v", all)
	}
}

// What is no tombstone, or of a time to come, is none.
func TestTombstoneOfATimeToComeIsNone(t *testing.T) {
	const now = redistime.Time(1_700_000_000_000_000)
	for text, want := range map[string]redistime.Time{
		"1700000000000000": now, "1700000004999999": now + 4_999_999, "1700000005000001": 0, "9000000000000000 somebody.1": 0,
		"1700000000000000 process.1": now, "1700000000000000 ": now, "": 0, "x": 0, "-1": 0, "99999999999999999999": 0,
		"1700000000000000 a=1700000000000000": now, "1700000000000000 a=9000000000000000": 0, "5 a= =5 a=b": 0,
	} {
		if got := layout.ParseTombstone(text, now).Latest(); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// A removal is never taken for one that was carried out long before it is of, whatever is written there: no sign-in of
// before it would be ended. "early" of hours does not even fit a Duration's count.
func TestTombstoneIsEarlyByNoMoreThanClocksDiffer(t *testing.T) {
	const now = 1_800_000_000_000_000
	for _, early := range []string{"6000000", "9999999999999999"} {
		tombstone := layout.ParseTombstone(fmt.Sprint(now, " *=", now, " early=", early), now)
		if tombstone.Early < 0 || tombstone.Early > layout.Ahead || tombstone.Session(1, now-10_000_000) != 1 {
			t.Errorf("early by %s: %+v", early, tombstone)
		}
	}
}
