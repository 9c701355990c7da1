package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// When the log vouches for a record, and as of when. All times are seconds since the process's start.
func TestWhatTheChangeLogVouchesFor(t *testing.T) {
	const s = time.Second
	other := layout.PartitionID("other.utid")
	announcement := func(pid ID) string { return "7 word " + string(pid) }
	type step func(*Store, *Record)
	look := func(at time.Duration) step {
		return func(_ *Store, r *Record) { r.Apply(record.Looked{Version: 1, At: 1, Now: at}) }
	}
	read := func(at time.Duration, all bool, announced ...string) step {
		return func(st *Store, _ *Record) { st.log.take(at, "7 word "+string(pid), all, announced) }
	}
	failed := func(st *Store, _ *Record) { st.log.fail() }
	// until is when what is announced at a time is in doubt no more: 30 s, and 4 times OpTimeout.
	until := func(at time.Duration) time.Duration { return at + 30*s + 20*s }
	first := read(1*s, false)
	for name, test := range map[string]struct {
		steps []step
		want  time.Duration
	}{
		"a user's":           {[]step{first, look(100 * s), read(200*s, true)}, 100 * s},
		"nothing is read":    {[]step{look(100 * s)}, 100 * s},
		"nothing is known":   {[]step{first, read(200*s, true)}, 0},
		"a first reading":    {[]step{first, look(100 * s)}, 100 * s},
		"one after the look": {[]step{first, look(100 * s), read(200*s, true)}, 200 * s},
		"one after the look, of all": {[]step{
			first, look(100 * s), read(200*s, true, announcement(other)),
		}, 200 * s},
		"a look too soon after the first": {[]step{
			first, look(until(1 * s)), read(200*s, true),
		}, until(1 * s)},
		"the look is long ago": {[]step{first, look(100 * s), read(400*s, true)}, 100 * s},
		"it is announced": {[]step{
			first, look(100 * s), read(200*s, true, announcement(pid)),
		}, 100 * s},
		"and looked at while it may be under way": {[]step{
			first, read(100*s, true, announcement(pid)), look(until(100 * s)), read(200*s, true),
		}, until(100 * s)},
		"and looked at afterwards": {[]step{
			first, read(100*s, true, announcement(pid)), look(until(100*s) + 1), read(200*s, true),
		}, 200 * s},
		"announcements are missing": {[]step{first, look(100 * s), read(200*s, false)}, 100 * s},
		"they are, and it was read before": {[]step{
			first, look(100 * s), read(190*s, true), read(200*s, false),
		}, 190 * s},
		"they are, and it is looked at": {[]step{
			first, look(100 * s), read(200*s, false), look(until(200*s) + 1), read(300*s, true),
		}, 300 * s},
		"a reading failed": {[]step{first, look(100 * s), failed}, 100 * s},
		"one failed, and it was read before": {[]step{
			first, look(100 * s), read(190*s, true), failed,
		}, 190 * s},
		"one failed, and the next has no all": {[]step{
			first, look(100 * s), failed, read(200*s, false), read(210*s, true),
		}, 100 * s},
		"one came late": {[]step{
			first, look(100 * s), read(200*s, true), read(190*s, false),
		}, 200 * s},
		"one came late, with an announcement": {[]step{
			first, look(100 * s), read(200*s, true), read(190*s, true, announcement(pid)),
		}, 100 * s},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStore(t, nil, "p")
			r := st.Of(pid, name == "a user's")
			for _, step := range test.steps {
				step(st, r)
			}
			if got := st.Confirmed(r, r.Known()); got != test.want {
				t.Errorf("confirmed at %v, want %v", got, test.want)
			}
		})
	}
}

// A partition that is announced while nobody here holds a record of it is in doubt when one is held.
func TestAnnouncedBeforeARecordIsHeld(t *testing.T) {
	st := newStore(t, nil, "p")
	st.log.take(time.Second, "1 a x", false, nil)
	st.log.take(100*time.Second, "1 a x", true, []string{"2 b " + string(pid)})
	r := st.Of(pid, false)
	r.Apply(record.Looked{Version: 1, At: 1, Now: 110 * time.Second})
	st.log.take(120*time.Second, "1 a x", true, nil)
	if got := st.Confirmed(r, r.Known()); got != 110*time.Second {
		t.Errorf("the log vouches as of %v for what was looked at while a removal may have been under way", got)
	}
}

// So is a record that was evicted when its partition was announced, and is held again because a write of it waits.
func TestAnnouncedWhileARecordIsEvicted(t *testing.T) {
	st := newStore(t, nil, "p")
	st.o.Redis.Breaker.Open() // nothing is pushed
	r := st.Of(pid, false)
	st.log.take(time.Second, "1 a x", false, nil)
	r.Apply(record.Looked{Version: 1, At: 1, Now: 100 * time.Second})
	st.pending.keep(Batch{Record: r, Entries: []record.Entry{token(t, "a", 1, 1)}})
	st.records.Invalidate(pid)
	st.log.take(110*time.Second, "1 a x", true, []string{"2 b " + string(pid)})
	st.log.take(120*time.Second, "1 a x", true, nil)
	if st.Of(pid, false) != r {
		t.Fatal("another holder: the test has lost its point")
	}
	if got := st.Confirmed(r, r.Known()); got != 100*time.Second {
		t.Errorf("the log vouches as of %v", got)
	}
}

// What a reading tells of is in doubt, whatever has befallen the log meanwhile.
func TestReadingTheChangeLog(t *testing.T) {
	ctx := t.Context()
	announceAll := func(st *Store, names ...string) (err error) {
		for _, name := range names {
			err = errors.Join(err, st.log.announce(ctx, layout.PartitionID(name)))
		}
		return err
	}
	for name, test := range map[string]struct {
		befalls func(st *Store, rdb *redis.Client) error
		all     bool
		tells   []string
	}{
		"nothing": {func(*Store, *redis.Client) error { return nil }, true, nil},
		"three removals": {func(st *Store, _ *redis.Client) error {
			return announceAll(st, "a", "b", "c")
		}, true, []string{"c", "b", "a"}},
		"more than it keeps": {func(st *Store, rdb *redis.Client) error {
			return errors.Join(announceAll(st, "a"),
				rdb.ZRemRangeByRank(ctx, st.o.Names.ChangeLog(), 0, -2).Err())
		}, false, nil},
		"a reading that failed": {func(st *Store, _ *redis.Client) error {
			st.log.fail()
			return nil
		}, false, nil},
		"its loss": {func(st *Store, rdb *redis.Client) error {
			return rdb.Del(ctx, st.o.Names.ChangeLog()).Err()
		}, false, nil},
		"its loss, and another of as many": {func(st *Store, rdb *redis.Client) error {
			return errors.Join(rdb.Del(ctx, st.o.Names.ChangeLog()).Err(), announceAll(st, "a", "b"))
		}, false, nil},
		"its loss, and another of more": {func(st *Store, rdb *redis.Client) error {
			return errors.Join(rdb.Del(ctx, st.o.Names.ChangeLog()).Err(), announceAll(st, "a", "b", "c"))
		}, false, nil},
		"a key of another type": {func(st *Store, rdb *redis.Client) error {
			return rdb.Set(ctx, st.o.Names.ChangeLog(), "x", time.Minute).Err()
		}, false, nil},
		"a key of another type, and a removal": {func(st *Store, rdb *redis.Client) error {
			return errors.Join(rdb.Set(ctx, st.o.Names.ChangeLog(), "x", time.Minute).Err(), announceAll(st, "a"))
		}, false, nil},
		"text that is none of ours": {func(st *Store, rdb *redis.Client) error {
			return rdb.ZAdd(ctx, st.o.Names.ChangeLog(), redis.Z{Score: 9, Member: "x"}).Err()
		}, false, nil},
		"much of it": {func(st *Store, rdb *redis.Client) error {
			much := strings.Repeat("x", 1<<20)
			return rdb.ZAdd(ctx, st.o.Names.ChangeLog(), redis.Z{Score: 9, Member: much}).Err()
		}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rdb, prefix := realRedis(t)
			st := newStore(t, rdb, prefix)
			for range 2 {
				if err := st.log.announce(ctx, pid); err != nil {
					t.Fatal(err)
				}
			}
			st.log.read(ctx, time.Second)
			began := st.log.last.Load().since
			if began == 0 {
				t.Fatal("the first reading vouches for what was confirmed before")
			}
			if err := test.befalls(st, rdb); err != nil {
				t.Fatal(err)
			}
			st.log.read(ctx, 2*time.Second)
			last := st.log.last.Load()
			if all := last.since == began; all != test.all || last.at != 2*time.Second {
				t.Errorf("read at %v, all is known: %v, want %v", last.at, all, test.all)
			}
			st.log.mu.Lock()
			defer st.log.mu.Unlock()
			if len(st.log.doubts) != len(test.tells) {
				t.Errorf("%d partitions are in doubt, want %d", len(st.log.doubts), len(test.tells))
			}
			for _, name := range test.tells {
				if st.log.doubts[layout.PartitionID(name)] == 0 {
					t.Errorf("%s is not in doubt", name)
				}
			}
		})
	}
}

// A removal that is not announced before it is carried out, or long before, is announced afterwards.
func TestRemovalsAreAnnounced(t *testing.T) {
	ctx := t.Context()
	for name, test := range map[string]struct {
		announcedFor time.Duration
		refused      int // announcements that Redis refuses
		want         int
	}{
		"before":                         {time.Hour, 0, 1},
		"before, and long ago":           {0, 0, 2},
		"afterwards":                     {time.Hour, 1, 1},
		"when Redis takes it once again": {time.Hour, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			rdb, prefix := realRedis(t)
			order := &refuses{times: test.refused}
			rdb.AddHook(order)
			st := newStore(t, rdb, prefix)
			st.log.announcedFor = test.announcedFor
			m := st.BeginRemoval(st.Of(pid, false), nil)
			if _, err := st.Remove(ctx, m, true); err != nil {
				t.Fatal(err)
			}
			st.Push(ctx)
			log, err := rdb.ZRange(ctx, st.o.Names.ChangeLog(), 0, -1).Result()
			if err != nil || len(log) != test.want {
				t.Errorf("%d announcements, %v, want %d", len(log), err, test.want)
			}
			for _, text := range log {
				if of, ok := layout.Announced(text); !ok || of != pid {
					t.Errorf("%q announces %q", text, of)
				}
			}
			first := order.ran[0]
			if (first == "announce") != (test.refused == 0) {
				t.Errorf("first is %s: %v", first, order.ran)
			}
		})
	}
}

// Records in use cost one reading of the log twice in LocalTTL, and none of them a look; a removal elsewhere of which
// nobody tells is learnt of within LocalTTL.
func TestChangeLogInsteadOfLooks(t *testing.T) {
	const records, localTTL = 50, 200 * time.Millisecond
	ctx := t.Context()
	server, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb, counted := server.Client(), server.Client()
	t.Cleanup(func() { _, _ = rdb.Close(), counted.Close() })
	ran := &scripts{}
	counted.AddHook(ran)
	there, here := newStore(t, rdb, prefix), newStore(t, counted, prefix)
	here.o.LocalTTL, here.log.doubtedFor = localTTL, time.Millisecond
	var pids []ID
	for i := range records {
		pids = append(pids, layout.PartitionID(fmt.Sprint("app ", i)))
		e, err := msaldoc.NewEntry(msaldoc.SectionAccessToken, "at", fmt.Appendf(nil,
			`{"secret":"s","expires_on":"%d"}`, time.Now().Add(time.Hour).Unix()))
		if err != nil {
			t.Fatal(err)
		}
		now := toldTime(t, rdb)
		if _, err := there.Write(ctx, Batch{Record: there.Of(pids[i], false),
			Entries: []record.Entry{record.New(e, now, now)}}); err != nil {
			t.Fatal(err)
		}
	}
	// use is what the accessor does with a record at each call.
	use := func(pid ID) *Record {
		t.Helper()
		r := here.Of(pid, false)
		if !here.Fresh(r, localTTL) {
			if err := here.Load(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		if here.elapsed()-here.Confirmed(r, r.Known()) >= localTTL/2 {
			here.Revalidate(r)
		}
		return r
	}
	during := func(d time.Duration) (looks, readings int) {
		t.Helper()
		ran.take()
		for until := time.Now().Add(d); time.Now().Before(until); {
			for _, pid := range pids {
				use(pid)
			}
			time.Sleep(localTTL / 20)
		}
		return ran.take()
	}
	during(4 * localTTL) // until the log vouches for all
	// A process that waits for a processor for longer than LocalTTL looks once at all: one good stretch tells. Without the
	// log each has a thousand looks.
	for tries := 1; ; tries++ {
		looks, readings := during(10 * localTTL)
		if looks <= records/2 && readings >= 10 {
			break
		}
		if tries == 5 {
			t.Fatalf("%d looks and %d readings in ten times LocalTTL, want none and 20", looks, readings)
		}
	}
	if _, err := there.Remove(ctx, there.BeginRemoval(there.Of(pids[0], false), nil), true); err != nil {
		t.Fatal(err)
	}
	time.Sleep(localTTL)
	if !use(pids[0]).Known().Empty() {
		t.Error("a removal is not learnt of within LocalTTL")
	}
	if use(pids[1]).Known().Empty() {
		t.Error("another's record is gone too")
	}
}

// scripts counts looks at records and readings of the log.
type scripts struct {
	mu              sync.Mutex
	looks, readings int
}

func (h *scripts) take() (looks, readings int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	looks, readings, h.looks, h.readings = h.looks, h.readings, 0, 0
	return looks, readings
}

func (h *scripts) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *scripts) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h *scripts) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		text := fmt.Sprint(cmd.Args()...)
		h.mu.Lock()
		switch {
		case strings.Contains(text, ":log"):
			h.readings++
		case strings.Contains(text, ":tokens"):
			h.looks++
		}
		h.mu.Unlock()
		return next(ctx, cmd)
	}
}

// refuses refuses some announcements, and notes those that are made and the removals.
type refuses struct {
	mu    sync.Mutex
	times int
	ran   []string
}

// noPermission is an answer of Redis.
type noPermission struct{}

func (noPermission) Error() string { return "NOPERM this user has no permissions" }
func (noPermission) RedisError()   {}

func (h *refuses) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *refuses) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h *refuses) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		what := ""
		switch text := fmt.Sprint(cmd.Args()...); {
		case strings.Contains(text, ":log"):
			what = "announce"
		case strings.Contains(text, ":rids"):
			what = "remove"
		}
		h.mu.Lock()
		refuse := what == "announce" && h.times > 0
		if refuse {
			h.times--
		}
		h.mu.Unlock()
		if refuse {
			cmd.SetErr(noPermission{})
			return noPermission{}
		}
		err := next(ctx, cmd)
		if err == nil && what != "" {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ran = append(h.ran, what)
		}
		return err
	}
}
