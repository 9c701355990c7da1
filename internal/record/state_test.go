package record

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// entry is an entry of a section whose secret says what it is of.
func entry(t testing.TB, section, key string, session, stamp redistime.Time) Entry {
	t.Helper()
	e, err := msaldoc.NewEntry(section, key,
		[]byte(fmt.Sprintf(`{"home_account_id":"u","secret":"%s of %d at %d","target":"a b","expires_on":"9000000000"}`,
			key, session, stamp)))
	if err != nil {
		t.Fatal(err)
	}
	return New(e, stamp, session)
}

func refreshToken(t testing.TB, session, stamp redistime.Time) Entry {
	return entry(t, msaldoc.SectionRefreshToken, "rt", session, stamp)
}

func entries(all ...Entry) map[string]Entry {
	m := map[string]Entry{}
	for _, e := range all {
		m[e.Field] = e
	}
	return m
}

// says is what a State hands out, in words.
func says(s *State) string {
	if s.Snapshot() == nil {
		return "nothing"
	}
	var all []string
	for _, e := range s.Snapshot().Entries {
		all = append(all, fmt.Sprintf("%s:%d/%d", e.Key, e.Session, e.Stamp))
	}
	slices.Sort(all)
	freshness := "stale"
	if s.Checked() != 0 {
		freshness = "current"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s", freshness, strings.Join(all, " ")))
}

func whole(at redistime.Time) layout.Tombstone { return layout.Tombstone{Whole: at} }

// What is known after each of some events, and what is to be done about the last.
func TestStateAfterEvents(t *testing.T) {
	rt := func(session, stamp redistime.Time) Entry { return refreshToken(t, session, stamp) }
	looked := func(version int64, at redistime.Time, removed layout.Tombstone, all ...Entry) Looked {
		return Looked{Version: version, Entries: entries(all...), Removed: removed, At: at, Now: time.Duration(at)}
	}
	for what, c := range map[string]struct {
		events  []func(*State) Event
		want    string
		restore int
		unsaved int
		effects Effects // but for Write, Restore and Discard
	}{
		"a look": {
			events: []func(*State) Event{func(*State) Event { return looked(1, 10, whole(0), rt(1, 1)) }},
			want:   "current rt:1/1",
		},
		"a look that a removal overtakes": {
			events: []func(*State) Event{
				func(*State) Event { return Heard{whole(20)} },
				func(*State) Event { return looked(1, 10, whole(0), rt(1, 1)) },
			},
			want: "stale",
		},
		"a look after a removal that Redis has lost": {
			events: []func(*State) Event{
				func(*State) Event { return Heard{whole(5)} },
				func(*State) Event {
					return looked(1, 10, whole(0), rt(1, 1), entry(t, msaldoc.SectionIDToken, "id", 7, 7))
				},
			},
			want: "current id:7/7", effects: Effects{Bury: true},
		},
		"an older look arrives later": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event { return looked(1, 10, whole(0), rt(1, 1)) },
			},
			want: "current rt:2/2",
		},
		"the version is the same": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(s *State) Event { return Looked{Same: true, Version: 2, At: 30, Now: 30} },
			},
			want: "current rt:2/2",
		},
		"the version is the same, and something was removed": {
			events: []func(*State) Event{
				func(*State) Event {
					return looked(2, 20, whole(0), rt(2, 2), entry(t, msaldoc.SectionIDToken, "id", 7, 7))
				},
				func(s *State) Event {
					return Looked{Same: true, Version: 2, Removed: whole(5), At: 30, Now: 30}
				},
			},
			want: "current id:7/7", effects: Effects{Learnt: true},
		},
		"the version is the same as that of before a removal here": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event { return Removing{whole(25)} },
				func(*State) Event { return Looked{Same: true, Version: 2, At: 30, Now: 30} },
			},
			want: "stale",
		},
		"a look while a removal here waits": {
			events: []func(*State) Event{
				func(*State) Event { return Removing{whole(25)} },
				func(*State) Event {
					return looked(2, 30, whole(0), rt(2, 2), entry(t, msaldoc.SectionIDToken, "id", 26, 26))
				},
			},
			want: "current id:26/26",
		},
		"a removal here, carried out as of an earlier time": {
			events: []func(*State) Event{
				func(*State) Event { return Removing{whole(25)} },
				func(*State) Event { return Carried{Asked: whole(25), Removed: whole(20), At: 30} },
				func(*State) Event { return looked(2, 40, whole(20), rt(22, 22)) },
			},
			want: "current rt:22/22",
		},
		"a removal here is carried out, and a later one waits": {
			events: []func(*State) Event{
				func(*State) Event { return Removing{whole(25)} },
				func(*State) Event { return Removing{whole(35)} },
				func(*State) Event { return Carried{Asked: whole(25), Removed: whole(26), At: 30} },
				func(*State) Event { return looked(2, 40, whole(26), rt(30, 30)) },
			},
			want: "current",
		},
		"a removal that is known is heard again": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(1), rt(2, 2)) },
				func(*State) Event { return Heard{whole(1)} },
			},
			want: "current rt:2/2",
		},
		"tokens of some scopes are removed": {
			events: []func(*State) Event{
				func(*State) Event {
					return looked(2, 20, whole(0), rt(2, 2), entry(t, msaldoc.SectionAccessToken, "at", 2, 2))
				},
				func(*State) Event {
					return Heard{layout.Tombstone{Some: []layout.Forgotten{{Scopes: layout.HashScopes([]string{"a"}), AsOf: 5}}}}
				},
			},
			want: "stale rt:2/2", effects: Effects{Learnt: true},
		},
		"Redis has lost the record": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event { return looked(0, 30, whole(0)) },
			},
			want: "current rt:2/2", restore: 1,
		},
		"Redis has an older token": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event { return looked(3, 30, whole(0), rt(1, 9)) },
			},
			want: "current rt:2/2", restore: 1,
		},
		"Redis has lost the record beside a tombstone of somebody": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event { return Looked{Planted: true, At: 30, Now: 30} },
			},
			want: "current",
		},
		"Redis has lost the record, long after it was confirmed": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event {
					return Looked{At: 20 + redistime.Time(layout.TombstoneLife.Microseconds()), Now: 30}
				},
			},
			want: "current",
		},
		"Redis has lost the record while a write is under way": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event { return Writing{Entries: []Entry{rt(3, 3)}, At: 25, Now: 25} },
				func(*State) Event { return looked(0, 30, whole(0)) },
			},
			want: "current rt:3/3",
		},
		"a value cannot be read that is held": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event {
					return Looked{Version: 3, Damaged: map[string]Damage{rt(2, 2).Field: {"x", serializer.ErrCorrupt}}, At: 30,
						Now: 30}
				},
			},
			want: "current rt:2/2", restore: 1,
		},
		"a value cannot be read that is not held": {
			events: []func(*State) Event{
				func(*State) Event {
					return Looked{Version: 3, Damaged: map[string]Damage{"f": {"x", serializer.ErrCorrupt}}, At: 30, Now: 30}
				},
			},
			want: "current", effects: Effects{AskMend: true},
		},
		"a value cannot be read, and somebody asks": {
			events: []func(*State) Event{
				func(*State) Event {
					return Looked{Whole: true, Version: 3, Damaged: map[string]Damage{"f": {"x", serializer.ErrCorrupt}}, At: 30,
						Now: 30}
				},
			},
			want: "current",
		},
		"a write": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event { return Writing{Entries: []Entry{rt(3, 3)}, At: 25, Now: 25} },
				func(s *State) Event {
					return Stored{Entries: []Entry{rt(3, 3)}, Assumed: s.Snapshot(), Version: 3, Before: 2,
						Applied: true, At: 30, Now: 30}
				},
			},
			want: "current rt:3/3",
		},
		"a write beside another's": {
			events: []func(*State) Event{
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
				func(*State) Event { return Writing{Entries: []Entry{rt(3, 3)}, At: 25, Now: 25} },
				func(s *State) Event {
					return Stored{Entries: []Entry{rt(3, 3)}, Assumed: s.Snapshot(), Version: 9, Before: 8,
						Applied: true, At: 30, Now: 30}
				},
			},
			want: "stale rt:3/3",
		},
		"a write that a removal has ended": {
			events: []func(*State) Event{
				func(*State) Event { return Heard{whole(20)} },
				func(*State) Event { return Writing{Entries: []Entry{rt(3, 3)}, At: 25, Now: 25} },
			},
			want: "stale",
		},
		"a refused write leaves a later session": {
			events: []func(*State) Event{
				func(*State) Event { return Writing{Entries: []Entry{rt(3, 3)}, At: 4, Now: 4} },
				func(*State) Event {
					return Writing{Entries: []Entry{entry(t, msaldoc.SectionIDToken, "id", 26, 26)}, At: 26, Now: 26}
				},
				func(*State) Event { return Refused{Removed: whole(20), At: 30} },
			},
			want: "stale id:26/26", effects: Effects{Learnt: true},
		},
		"what waits stands above what is read": {
			events: []func(*State) Event{
				func(*State) Event { return Kept{Entries: []Entry{rt(3, 3)}, Fits: true} },
				func(*State) Event { return looked(2, 20, whole(0), rt(2, 2)) },
			},
			want: "current rt:3/3", unsaved: 1,
		},
		"what waits does not stand above what is newer": {
			events: []func(*State) Event{
				func(*State) Event { return Kept{Entries: []Entry{rt(3, 3)}, Fits: true} },
				func(*State) Event { return looked(2, 20, whole(0), rt(4, 1)) },
			},
			want: "current rt:4/1", unsaved: 1,
		},
		"what waits is ended by a removal": {
			events: []func(*State) Event{
				func(*State) Event { return Kept{Entries: []Entry{rt(3, 3)}, Fits: true} },
				func(*State) Event { return Heard{whole(20)} },
			},
			want: "stale", effects: Effects{Learnt: true},
		},
		"what finds no room does not wait": {
			events: []func(*State) Event{
				func(*State) Event { return Kept{Entries: []Entry{rt(3, 3)}, Fits: true} },
				func(*State) Event {
					return Kept{Entries: []Entry{rt(4, 4), entry(t, msaldoc.SectionIDToken, "id", 4, 4)}}
				},
				func(*State) Event { return looked(2, 20, whole(0)) },
			},
			want: "current rt:4/4", unsaved: 1,
		},
		"what was written waits no more": {
			events: []func(*State) Event{
				func(*State) Event { return Kept{Entries: []Entry{rt(3, 3)}, Fits: true} },
				func(*State) Event { return Writing{Entries: []Entry{rt(3, 3)}, At: 4, Now: 4} },
				func(s *State) Event {
					return Stored{Entries: []Entry{rt(3, 3)}, Assumed: s.Snapshot(), Version: 3, Applied: true, At: 30, Now: 30}
				},
			},
			want: "current rt:3/3",
		},
		"a later write of what waits waits on": {
			events: []func(*State) Event{
				func(*State) Event { return Kept{Entries: []Entry{rt(4, 4)}, Fits: true} },
				func(*State) Event { return Writing{Entries: []Entry{rt(3, 3)}, At: 4, Now: 4} },
				func(s *State) Event {
					return Stored{Entries: []Entry{rt(3, 3)}, Assumed: s.Snapshot(), Version: 3, Applied: true, At: 30, Now: 30}
				},
			},
			want: "current rt:3/3", unsaved: 1,
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := State{Life: 90 * 24 * time.Hour}
			var effects Effects
			for _, event := range c.events {
				effects = s.Apply(event(&s))
			}
			if got := says(&s); got != c.want {
				t.Errorf("it knows %q, want %q", got, c.want)
			}
			if len(effects.Restore) != c.restore || len(s.Unsaved()) != c.unsaved {
				t.Errorf("%d are written back, want %d; %d wait, want %d", len(effects.Restore), c.restore,
					len(s.Unsaved()), c.unsaved)
			}
			if effects.AskMend != c.effects.AskMend || effects.Bury != c.effects.Bury || effects.Learnt != c.effects.Learnt {
				t.Errorf("effects are %+v, want %+v", effects, c.effects)
			}
		})
	}
}

// What has not been confirmed for a tombstone's life is not pushed: a removal of it may have been forgotten. A sign-in
// since is.
func TestWhatATombstoneMayHaveEndedIsNotPushed(t *testing.T) {
	life := redistime.Time(layout.TombstoneLife.Microseconds())
	s := State{Life: 90 * 24 * time.Hour}
	s.Apply(Looked{Version: 1, Entries: entries(refreshToken(t, 1, 1)), At: 10, Now: 10})
	old, since := refreshToken(t, 1, life), refreshToken(t, life, life)
	for what, c := range map[string]struct {
		e    Entry
		at   redistime.Time
		now  time.Duration
		want int
	}{
		"of an old session":                      {old, life + 20, 20, 0},
		"of an old session, by this clock":       {old, life + 20, layout.TombstoneLife + 10, 0},
		"of an old session, confirmed meanwhile": {old, life - 20, 20, 1},
		"of a session since":                     {since, life + 20, 20, 1},
	} {
		if got := len(s.Apply(Writing{Entries: []Entry{c.e}, At: c.at, Now: c.now}).Write); got != c.want {
			t.Errorf("%s: %d are sent", what, got)
		}
	}
}

// The account goes along with a new refresh token and takes the place of what is in Redis, which an older key may have
// sealed, also where its stamp is the later one.
func TestAccountIsSealedAnewWithEveryRefreshToken(t *testing.T) {
	for _, refreshed := range []redistime.Time{900, 1000, 1100} {
		account := entry(t, msaldoc.SectionAccount, "account", 5, 1000)
		s := State{Life: time.Hour}
		s.Apply(Looked{Version: 1, Entries: entries(account), At: 10, Now: 10})
		out := s.Apply(Writing{Entries: []Entry{refreshToken(t, 5, refreshed)}, At: 11, Now: 11}).Write
		if len(out) != 2 || out[1].Section != msaldoc.SectionAccount || !out[1].Newer(account) || out[1].Stamp < refreshed {
			t.Errorf("with a refresh token of %d the account of %d is written as %v", refreshed, account.Stamp, out)
		}
	}
}

// Every order of some events, against the invariants of doc.go: nothing that a removal which is known has ended is
// handed out or waits, what is known of removals grows, no Snapshot changes once it is handed out, and a look in the
// end tells what Redis has, what waits and what is brought back.
func TestEveryOrderOfEventsKeepsTheInvariants(t *testing.T) {
	type world struct {
		s     State
		redis map[string]Entry
		tomb  layout.Tombstone
		at    redistime.Time
	}
	now := func(w *world) time.Duration { return time.Duration(w.at) }
	steps := map[string]func(*world){
		"look": func(w *world) {
			w.s.Apply(Looked{Version: int64(w.at), Entries: maps.Clone(w.redis), Removed: w.tomb, At: w.at, Now: now(w)})
		},
		"look of before": func(w *world) {
			w.s.Apply(Looked{Version: 1, Entries: entries(refreshToken(t, 1, 1)), At: 2, Now: now(w)})
		},
		"sign-in": func(w *world) {
			e := refreshToken(t, w.at, w.at)
			if w.s.Apply(Writing{Entries: []Entry{e}, At: w.at, Now: now(w)}).Write == nil {
				return
			}
			w.redis[e.Field] = e
			w.s.Apply(Stored{Entries: []Entry{e}, Assumed: w.s.Snapshot(), Version: int64(w.at), Removed: w.tomb, Applied: true,
				At: w.at, Now: now(w)})
			w.s.Apply(Ended{})
		},
		"sign-in, kept": func(w *world) {
			e := refreshToken(t, w.at, w.at)
			if w.s.Apply(Writing{Entries: []Entry{e}, At: w.at, Now: now(w)}).Write != nil {
				w.s.Apply(Kept{Entries: []Entry{e}, Fits: true})
				w.s.Apply(Ended{})
			}
		},
		"late refresh": func(w *world) {
			e := refreshToken(t, 1, w.at)
			if w.s.Apply(Writing{Entries: []Entry{e}, At: w.at, Now: now(w)}).Write == nil {
				return
			}
			if w.tomb.Latest() > w.s.Snapshot().Removed.Latest() {
				w.s.Apply(Refused{Removed: w.tomb, At: w.at})
			}
			w.s.Apply(Ended{})
		},
		"removed elsewhere": func(w *world) { w.tomb, w.redis = whole(w.at), map[string]Entry{} },
		"heard":             func(w *world) { w.s.Apply(Heard{w.tomb}) },
		"removing":          func(w *world) { w.s.Apply(Removing{whole(w.at)}) },
		"carried out": func(w *world) {
			asked := w.s.removing
			w.tomb = w.tomb.Merge(whole(w.at))
			w.redis = map[string]Entry{}
			w.s.Apply(Carried{Asked: asked, Removed: w.tomb, At: w.at})
		},
		"lost": func(w *world) { w.redis, w.tomb = map[string]Entry{}, layout.Tombstone{} },
	}
	names := slices.Sorted(maps.Keys(steps))
	const depth = 4
	orders := 0
	var path [depth]int
	var walk func(n int)
	run := func() {
		orders++
		w := &world{s: State{Life: time.Hour}, redis: entries(refreshToken(t, 1, 1)), at: 10}
		said := map[*Snapshot]string{}
		known := redistime.Time(0)
		for _, i := range path {
			w.at += 10
			steps[names[i]](w)
			if s := w.s.Snapshot(); s != nil {
				said[s] = says(&State{snapshot: s})
				if s.Removed.Latest() < known {
					t.Fatalf("%v: what was removed is forgotten", describe(names, path[:]))
				}
				known = s.Removed.Latest()
			}
			for _, e := range append(w.s.Unsaved(), slices.Collect(maps.Values(w.s.snapshotEntries()))...) {
				if e.EndedBy(w.s.Removed()) {
					t.Fatalf("%v: what has ended is known still", describe(names, path[:]))
				}
			}
		}
		for s, before := range said {
			if got := says(&State{snapshot: s}); got != before {
				t.Fatalf("%v: a snapshot has changed from %q to %q", describe(names, path[:]), before, got)
			}
		}
		w.at += 10
		effects := w.s.Apply(Looked{Version: int64(w.at), Entries: maps.Clone(w.redis), Removed: w.tomb,
			At: w.at, Now: now(w)})
		want := maps.Clone(w.redis)
		for _, e := range append(effects.Restore, w.s.Unsaved()...) {
			if held, ok := want[e.Field]; !ok || e.Newer(held) {
				want[e.Field] = e
			}
		}
		maps.DeleteFunc(want, func(_ string, e Entry) bool { return e.EndedBy(w.s.Removed()) })
		if got := w.s.snapshotEntries(); !maps.EqualFunc(got, want,
			func(a, b Entry) bool { return a.Stamp == b.Stamp && a.Session == b.Session }) {
			t.Fatalf("%v: it knows %v, Redis and what waits are %v", describe(names, path[:]), got, want)
		}
	}
	walk = func(n int) {
		if n == depth {
			run()
			return
		}
		for i := range names {
			path[n] = i
			walk(n + 1)
		}
	}
	walk(0)
	t.Logf("%d orders", orders)
}

func (s *State) snapshotEntries() map[string]Entry {
	if s.snapshot == nil {
		return nil
	}
	return s.snapshot.Entries
}

func describe(names []string, path []int) (all []string) {
	for _, i := range path {
		all = append(all, names[i])
	}
	return all
}
