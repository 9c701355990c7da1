package layout_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// A sign-out that comes late ends what began before it was asked for, refreshes of that under way included, and of later sessions
// neither what is stored nor what is under way.
func TestLateSignOutEndsEarlierSessionsAlone(t *testing.T) {
	ctx := t.Context()
	rdb := redistest.Start(t).Client()
	t.Cleanup(func() { _ = rdb.Close() })
	n := layout.Names{Prefix: redistest.Prefix(t)}
	const second = 1_000_000
	for name, how := range map[string]func(asked int64) string{
		"tried again":          func(asked int64) string { return "T" + strconv.FormatInt(asked, 10) },
		"long on its way":      func(asked int64) string { return "F" + strconv.FormatInt(asked, 10) },
		"in time":              func(asked int64) string { return "F" + strconv.FormatInt(asked+60*second, 10) },
		"asked for at no time": func(int64) string { return "1" },
	} {
		t.Run(name, func(t *testing.T) {
			late := name == "tried again" || name == "long on its way"
			pid := layout.ID(redistest.Prefix(t))
			keys := []string{n.Tokens(pid), n.Tombstone(pid), n.RIDs(pid), n.Fence(pid)}
			now, err := rdb.Time(ctx).Result()
			if err != nil {
				t.Fatal(err)
			}
			asked := now.UnixMicro() - 60*second
			store := func(kind, field string, session int64) (stored bool) {
				t.Helper()
				value, err := layout.SealSession(serializer.Plaintext(), keys[0], field, now.UnixMicro(), now.Unix()+3600, session, []byte("x"))
				if err != nil {
					t.Fatal(err)
				}
				reply, err := layout.StoreScript.Run(ctx, rdb, keys[:2], "0", kind, "3600000", field, value).Slice()
				if err != nil {
					t.Fatal(err)
				}
				return reply[2].(int64) != -1
			}
			store("1", "earlier", asked-second)
			store("s", "earlier, refreshed since", asked-second)
			store("0", "of no session", 0)
			store("1", "later", asked+second)
			if err := layout.SignoutScript.Run(ctx, rdb, keys, "60000", "x.1", how(asked)).Err(); err != nil {
				t.Fatal(err)
			}
			var want []string
			if late {
				want = []string{"later", "v"}
			}
			if left := rdb.HKeys(ctx, keys[0]).Val(); !slices.Equal(slices.Sorted(slices.Values(left)), want) {
				t.Errorf("left are %q, want %q", left, want)
			}
			// Done a second time, because its answer was lost, it tells of who has signed in since.
			if !late {
				store("1", "signed in since", now.UnixMicro()+second)
			}
			again, err := layout.SignoutScript.Run(ctx, rdb, keys, "60000", "x.1", how(asked)).Slice()
			if err != nil {
				t.Fatal(err)
			}
			if left := again[2]; left != "1" {
				t.Errorf("done again, it tells of %v entries, want 1", left)
			}
			rdb.HDel(ctx, keys[0], "signed in since")
			for _, c := range []struct {
				what, kind string
				session    int64
				want       bool
			}{
				{"a refresh of the earlier session", "s", asked - second, false},
				{"a refresh of the later session", "s", asked + second, late},
				{"a refresh of a session to come", "s", now.UnixMicro() + 3600*second, false},
				{"a refresh of no session", "s", 0, false},
				{"a refresh that does not say so", "0", asked + second, false},
				{"a sign-in", "1", asked + second, true},
			} {
				if got := store(c.kind, "f", c.session); got != c.want {
					t.Errorf("%s, stored: %v", c.what, got)
				}
			}
		})
	}
}

// A value says its session, and does not open with another.
func TestSessionOfAValue(t *testing.T) {
	s := serializer.Plaintext()
	for _, session := range []int64{0, 1, 1_700_000_000_000_000, layout.MaxStamp} {
		value, err := layout.SealSession(s, "k", "f", 2, 3, session, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		content, stamp, expiry, err := layout.Open(s, "k", "f", value)
		if err != nil || string(content) != "content" || stamp != 2 || expiry != 3 || layout.Session(value) != session {
			t.Errorf("%d: %q %d %d %d %v", session, content, stamp, expiry, layout.Session(value), err)
		}
		if session == 0 {
			continue
		}
		for _, changed := range []string{
			value[:layout.HeaderSize] + "s0000000000000002" + layout.Sealed(value), value[:layout.HeaderSize] + layout.Sealed(value),
		} {
			if _, _, _, err := layout.Open(s, "k", "f", changed); err == nil {
				t.Errorf("%d: opens with another session", session)
			}
		}
	}
}
