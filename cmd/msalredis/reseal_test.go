package main

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// state is what must not change: versions, the digits of every value, and that every key has a life.
func (f *fleet) state() map[string]string {
	rdb, ctx := f.redis.Client(), context.Background()
	state := map[string]string{}
	for _, key := range rdb.Keys(ctx, f.prefix+":*").Val() {
		fields := map[string]string{}
		switch {
		case strings.HasSuffix(key, ":tokens"):
			fields = rdb.HGetAll(ctx, key).Val()
		case strings.HasSuffix(key, ":response"), strings.HasSuffix(key, ":pause"):
			fields[""] = rdb.Get(ctx, key).Val()
		}
		for field, v := range fields {
			if field != layout.VersionField {
				v = v[:layout.HeaderSize]
			}
			state[key+" "+field] = v
		}
		if left := rdb.PTTL(ctx, key).Val(); left <= 0 {
			f.t.Errorf("%s has no life", key)
		}
	}
	return state
}

func TestResealMakesTheOldKeyUnnecessary(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	old := f.keys
	f.fill()
	f.keys = newKey(t, "2026b") + "," + old
	running := f.instance() // has both, as the roll-out left it
	use := func(i *instance) func() {
		return func() {
			i.appToken(graph)
			if err := i.silent(); err != nil {
				t.Error(err)
			}
		}
	}
	use(running)()
	before := f.state()
	if out := f.must("reseal"); !strings.Contains(out, "resealed with key 2026b; 0 had it already") {
		t.Error(out)
	}
	if after := f.state(); !maps.Equal(before, after) {
		t.Errorf("a stamp or a version changed:\n%v\n%v", before, after)
	}
	for _, it := range f.listed() {
		if it.SealedWith["2026a"] != 0 || it.SealedWith["2026b"] == 0 || it.Unreadable != 0 {
			t.Errorf("%+v", it)
		}
	}
	if n := f.requests(use(running)); n != 0 {
		t.Errorf("%d token requests of an instance that ran meanwhile", n)
	}
	both := f.keys
	f.keys, _, _ = strings.Cut(both, ",") // the old key is dropped
	if n := f.requests(use(f.instance())); n != 0 {
		t.Errorf("%d token requests with the new key alone", n)
	}
	f.keys = both
	var again resealed
	if err := json.Unmarshal([]byte(f.must("reseal", "--json")), &again); err != nil {
		t.Fatal(err)
	}
	if again.Resealed != 0 || again.Already == 0 || again.left() != 0 {
		t.Errorf("a second time: %+v", again)
	}
	// What it cannot open it leaves, and says so.
	f.keys = newKey(t, "2026c")
	r := f.run("reseal")
	if r.code != exitFinding || !strings.Contains(r.report, "not in TOKEN_CACHE_KEYS") || !maps.Equal(before, f.state()) {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
	if r := f.runWith(withoutKeys, "reseal"); r.code != exitUsage {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
	f.keys = both
}

// A value that an instance wrote between the read and the write is newer: it stays, and is what is resealed then.
func TestResealNeverWritesOverANewerValue(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	old := f.keys
	i := f.instance()
	i.signIn()
	f.keys = newKey(t, "2026b") + "," + old
	c := &command{world: world{env: f.env, now: time.Now}, prefix: f.prefix}
	s, err := c.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	pid := layout.PartitionID(user.HomeAccountID())
	at := place{s.names.Tokens(pid), pid, "tokens"}
	var read raw
	if err := s.read(t.Context(), []place{at}, func(r raw) error { read = r; return nil }); err != nil {
		t.Fatal(err)
	}
	// Meanwhile an instance that still seals with the old key signs the user in again.
	f.instanceWith(old).signIn()
	newer := f.state()
	var total resealed
	if err := s.resealOne(t.Context(), read, &total); err != nil {
		t.Fatal(err)
	}
	if got := f.state(); !maps.Equal(got, newer) {
		t.Errorf("a newer value was overwritten:\n%v\n%v", got, newer)
	}
	if total.Resealed == 0 || total.left() != 0 {
		t.Errorf("%+v", total)
	}
	for _, it := range f.listed() {
		if it.SealedWith["2026a"] != 0 || it.Unreadable != 0 {
			t.Errorf("%+v", it)
		}
	}
	f.keys, _, _ = strings.Cut(f.keys, ",")
	if n := f.requests(func() {
		if err := f.instance().silent(); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%d token requests", n)
	}
}
