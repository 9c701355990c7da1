package layout_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const second = 1_000_000

// partition is a partition in a Redis, and its scripts.
type partition struct {
	t    *testing.T
	rdb  *redis.Client
	keys []string
	now  int64 // when the test began, by Redis's clock
}

func newPartition(t *testing.T, rdb *redis.Client) *partition {
	n, pid := layout.Names{Prefix: redistest.Prefix(t)}, layout.ID(redistest.Prefix(t))
	now, err := rdb.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	p := &partition{t, rdb, []string{n.Tokens(pid), n.Tombstone(pid), n.RIDs(pid)}, now.UnixMicro()}
	t.Cleanup(func() { rdb.Del(t.Context(), p.keys...) })
	return p
}

// store stores an entry of a session, by a writer that knows of a removal; false: it was refused.
func (p *partition) store(known redistime.Time, field string, session, stamp int64) bool {
	p.t.Helper()
	value, err := layout.SealSession(serializer.Plaintext(), p.keys[0], field, stamp, p.now/second+3600, session,
		[]byte(fmt.Sprint(session, stamp)))
	if err != nil {
		p.t.Fatal(err)
	}
	reply, err := layout.StoreScript.Run(p.t.Context(), p.rdb, p.keys[:2], known.Micros(), "3600000", field, value).Slice()
	if err != nil {
		p.t.Fatal(err)
	}
	return reply[2].(int64) != -1
}

// remove signs out, and is what is removed then.
func (p *partition) remove(asked, late, least int64, scopes string, wrong int64) layout.Tombstone {
	p.t.Helper()
	reply, err := layout.SignoutScript.Run(p.t.Context(), p.rdb, p.keys, layout.TombstoneLife.Milliseconds(), asked, late,
		least, scopes, wrong).Slice()
	if err != nil {
		p.t.Fatal(err)
	}
	now, _ := strconv.ParseInt(reply[0].(string), 10, 64)
	return layout.ParseTombstone(reply[1].(string), redistime.Time(now))
}

func (p *partition) fields() string {
	return strings.Join(slices.Sorted(slices.Values(p.rdb.HKeys(p.t.Context(), p.keys[0]).Val())), " ")
}

// A sign-out is as of now at its first try, and later than all that is there. One that comes late ends what began
// before it was asked for, and nothing of later sessions.
func TestSignOutEndsWhatBeganBeforeIt(t *testing.T) {
	rdb := redistest.Start(t).Client()
	t.Cleanup(func() { _ = rdb.Close() })
	for name, c := range map[string]struct {
		asked, late, least int64 // from the test's begin
		before             int64 // another sign-out, asked for later, was carried out as of then; 0: none
		left               string
		asOf               int64 // 0: Redis's time or later
	}{
		"in time":                         {0, 60 * second, 0, 0, "", 0},
		"asked for at no time":            {-1 << 62, 60 * second, 0, 0, "", 0},
		"long on its way":                 {-60 * second, second, 0, 0, "later to-come v", -60 * second},
		"tried again":                     {-60 * second, 0, 0, 0, "later to-come v", -60 * second},
		"tried again, holding later ones": {-60 * second, 0, -10 * second, 0, "to-come v", -10 * second},
		"after one that was asked later":  {-60 * second, 120 * second, 0, -50 * second, "later to-come v", -50 * second},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, rdb)
			at := func(from int64) int64 {
				if from == -1<<62 || from == 0 && name == "asked for at no time" {
					return 0
				}
				return p.now + from
			}
			p.store(0, "earlier", p.now-61*second, 1)
			p.store(0, "later", p.now-30*second, 1)
			p.store(0, "to-come", p.now+second, 1) // of a server whose clock is ahead
			p.store(0, "never", p.now+3600*second, 1)
			if c.before != 0 {
				p.remove(at(c.before), 0, 0, "", 0)
			}
			least := int64(0)
			if c.least != 0 {
				least = at(c.least)
			}
			removed := p.remove(at(c.asked), c.late, least, "", second)
			if got := p.fields(); got != c.left {
				t.Errorf("left are %q, want %q", got, c.left)
			}
			if want := redistime.Time(p.now + c.asOf); c.asOf != 0 && removed.Whole != want ||
				c.asOf == 0 && removed.Whole <= redistime.Time(p.now+second) {
				t.Errorf("it is as of %d, %d from the begin", removed.Whole, removed.Whole.Micros()-p.now)
			}
			if early := removed.Early > 0; early != (c.asOf == 0) {
				t.Errorf("it is early: %v", removed.Early)
			}
			if again := p.remove(at(c.asked), 0, least, "", 0); again.Whole != removed.Whole {
				t.Errorf("done again it is as of %d, not %d", again.Whole, removed.Whole)
			}
			next := p.remove(0, 60*second, 0, "", 0)
			if next.Whole <= removed.Whole {
				t.Error("a later one is not as of later")
			}
		})
	}
}

// Tokens of some scopes are left to the caller; all of it goes where there are too many of them, and what is forgotten
// once stays so.
func TestSomeScopesAreForgotten(t *testing.T) {
	rdb := redistest.Start(t).Client()
	t.Cleanup(func() { _ = rdb.Close() })
	p := newPartition(t, rdb)
	p.store(0, "f", p.now, p.now)
	var removed layout.Tombstone
	for i := range 32 {
		removed = p.remove(0, 60*second, 0, fmt.Sprintf("scope%d", i), 0)
	}
	if len(removed.Some) != 32 || removed.Whole != 0 || p.fields() != "f v" {
		t.Errorf("%d facts, all as of %d, left are %q", len(removed.Some), removed.Whole, p.fields())
	}
	if p.store(0, "g", p.now, p.now) {
		t.Error("a store by who does not know of it is taken")
	}
	if !p.store(removed.Latest(), "g", p.now, p.now) {
		t.Error("a store by who knows of it is refused")
	}
	if removed = p.remove(0, 60*second, 0, "one+more", 0); len(removed.Some) != 0 ||
		removed.Whole == 0 || p.fields() != "" {
		t.Errorf("%d facts, all as of %d, left are %q", len(removed.Some), removed.Whole, p.fields())
	}
}

// Of one field the later session stays, and of one session the newer stamp; one of a time to come gives way.
func TestStoreKeepsTheNewer(t *testing.T) {
	rdb := redistest.Start(t).Client()
	t.Cleanup(func() { _ = rdb.Close() })
	for _, c := range []struct {
		what                           string
		session, stamp, session2, two2 int64
		want                           bool // the second takes the place of the first
	}{
		{"a later session", 10, 20, 11, 5, true},
		{"an earlier session", 10, 20, 9, 30, false},
		{"the same session, newer", 10, 20, 10, 21, true},
		{"the same session, older", 10, 20, 10, 19, false},
		{"of no session, newer", 0, 20, 0, 21, true},
		{"of no session, older", 0, 20, 0, 19, false},
		{"over a session to come", 8_000_000_000_000_000, 20, 10, 20, true},
		{"over a stamp to come", 10, 8_000_000_000_000_000, 10, 20, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := newPartition(t, rdb)
			p.store(0, "f", c.session, c.stamp)
			p.store(0, "f", c.session2, c.two2)
			if got := layout.Session(rdb.HGet(t.Context(), p.keys[0], "f").Val()) == c.session2 &&
				strings.HasPrefix(rdb.HGet(t.Context(), p.keys[0], "f").Val(), fmt.Sprintf("%016d", c.two2)); got != c.want {
				t.Errorf("it is there: %v", got)
			}
		})
	}
}

// A caller that is wrong about the time signs out all the same: a tombstone of a time to come would count for none.
func TestRemovalByACallerWhoIsWrongAboutTheTime(t *testing.T) {
	rdb := redistest.Start(t).Client()
	t.Cleanup(func() { _ = rdb.Close() })
	for _, late := range []int64{5 * second, 0} {
		p := newPartition(t, rdb)
		session := p.now - 60*second
		hours := p.now + 36000*second
		if removed := p.remove(hours, late, hours, "", 0); !removed.Ends(redistime.Time(session), nil) {
			t.Errorf("late by up to %d us: %+v", late, removed)
		}
		if p.store(0, "f", session, session) {
			t.Errorf("late by up to %d us: what was removed is stored", late)
		}
	}
}
