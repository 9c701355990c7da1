package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// hooked hides that a client is a *redis.Client, of which a copy without its hooks would be made.
type hooked struct{ redis.UniversalClient }

// toldTime is Redis's time.
func toldTime(t *testing.T, rdb *redis.Client) redistime.Time {
	t.Helper()
	now, err := rdb.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return redistime.Time(now.UnixMicro())
}

// newStore is a Store on a Redis client; nil: on one that reaches nobody.
func newStore(t *testing.T, rdb redis.UniversalClient, prefix string) *Store {
	t.Helper()
	if rdb == nil {
		client := redis.NewClient(&redis.Options{MaxRetries: -1, DialerRetries: 1,
			Dialer: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("nobody answers")
			}})
		t.Cleanup(func() { _ = client.Close() })
		rdb = client
	}
	log := telemetry.NewLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	clock, group := redistime.New(time.Now(), 15*time.Minute), &workers.Group{}
	life, end := context.WithCancel(context.Background())
	asked := redisop.New(hooked{rdb}, redisop.Options{
		Timeout: 5 * time.Second, LeaseTTL: time.Second, Clock: clock, Metrics: telemetry.Nowhere, Log: log,
		OnBack: func() {}, Life: life, Workers: group,
	})
	st := New(Options{
		Names: layout.Names{Prefix: prefix}, Serializer: serializer.Plaintext(), Redis: asked, Clock: clock,
		Metrics: telemetry.Nowhere, Log: log, LocalTTL: 10 * time.Second, UserTTL: 24 * time.Hour, OpTimeout: 5 * time.Second,
		LocalBytes: 1 << 20,
		Life:       life, Workers: group, AskMend: func(context.Context, ID) {}, OnStored: func(Batch) {},
	})
	t.Cleanup(func() {
		end()
		_ = asked.Close()
		group.Close()
		st.Close()
	})
	return st
}

// realRedis is a Redis, and a prefix of the test's own.
func realRedis(t *testing.T) (*redis.Client, string) {
	t.Helper()
	rdb := redistest.Start(t).Client()
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb, redistest.Prefix(t)
}

func token(t *testing.T, key string, session, stamp redistime.Time) record.Entry {
	t.Helper()
	e, err := msaldoc.NewEntry(msaldoc.SectionRefreshToken, key,
		[]byte(fmt.Sprintf(`{"home_account_id":"u","secret":"%s of %d"}`, key, session)))
	if err != nil {
		t.Fatal(err)
	}
	return record.New(e, stamp, session)
}

var pid = layout.PartitionID("uid.utid")

// A question is over with its answer, or its error: what it holds on to does not stay with the record.
func TestQuestionDoesNotStay(t *testing.T) {
	rdb, prefix := realRedis(t)
	for name, st := range map[string]*Store{
		"an answer": newStore(t, rdb, prefix), "an error": newStore(t, nil, prefix),
	} {
		r := st.Of(pid, true)
		if err := st.Load(t.Context(), r); (err != nil) != (name == "an error") {
			t.Fatalf("%s: %v", name, err)
		}
		if r.asked.Load() != nil {
			t.Errorf("it stays after %s", name)
		}
	}
}

// A holder that is evicted while its change is under way does not come back, neither alone nor in the place of its
// successor: managers have been told to ask for another.
func TestEvictedHolderDoesNotComeBack(t *testing.T) {
	st := newStore(t, nil, "p")
	evicted := st.Of(pid, true)
	st.records.Invalidate(pid)
	if !evicted.evicted.Swap(false) { // as one sees it who looked just before
		t.Fatal("it was not told")
	}
	st.weigh(evicted)
	if st.Peek(pid) != nil {
		t.Error("it is held again")
	}
	next := st.Of(pid, true)
	st.weigh(evicted)
	if st.Peek(pid) != next {
		t.Error("it has put its successor out")
	}
	st.weigh(next)
	if st.Peek(pid) != next || next.Evicted() {
		t.Error("weighing a holder has put it out")
	}
}

// Where no more may wait, what waits already is not lost, and what comes later of the same tokens takes its place.
func TestWhatWaitsIsNotLostToWhatFindsNoRoom(t *testing.T) {
	st := newStore(t, nil, "p")
	st.o.Redis.Breaker.Open() // nothing is pushed
	r := st.Of(pid, true)
	st.o.LocalBytes = token(t, "a", 1, 1).Size()
	for _, step := range []struct {
		entries []record.Entry
		want    redistime.Time // the stamp of what waits
	}{
		{[]record.Entry{token(t, "a", 1, 2)}, 2},
		{[]record.Entry{token(t, "a", 1, 1), token(t, "b", 1, 1)}, 2},
		{[]record.Entry{token(t, "a", 1, 3), token(t, "b", 1, 3)}, 3},
	} {
		st.pending.keep(Batch{Record: r, Entries: step.entries})
		if waits := r.unsaved(); len(waits) != 1 || waits[0].Stamp != step.want {
			t.Errorf("%v waits, want the stamp %d", waits, step.want)
		}
	}
}

// What a removal has ended takes no room any more.
func TestRoomOfWhatWaitsNoMore(t *testing.T) {
	st := newStore(t, nil, "p")
	st.o.Redis.Breaker.Open()
	r := st.Of(pid, true)
	st.Keep("other", &Waiting{Size: 1, Push: func(context.Context) error { return redisop.ErrReply }})
	st.pending.keep(Batch{Record: r, Entries: []record.Entry{token(t, "a", 1, 1)}})
	st.BeginRemoval(r, nil)
	st.o.Redis.Breaker.Close()
	st.Push(t.Context())
	if n, _, bytes := st.Waiting(); n != 1 || bytes != 1 {
		t.Errorf("%d writes wait, of %d bytes; want the one that Redis refuses", n, bytes)
	}
}

// What an outage has left goes to Redis side by side, so that others see it soon.
func TestWhatWaitsIsPushedSideBySide(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st := newStore(t, nil, "p")
	st.o.Redis.Breaker.Open()
	var under sync.WaitGroup
	for i := range pushesAtOnce {
		under.Add(1)
		begun := sync.OnceFunc(under.Done) // the Store's own pusher may try as well
		st.Keep(fmt.Sprint(i), &Waiting{Push: func(ctx context.Context) error {
			begun()
			all := make(chan struct{})
			go func() {
				defer close(all)
				under.Wait()
			}()
			select {
			case <-all:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
	}
	st.o.Redis.Breaker.Close()
	st.Push(ctx)
	if n, _, _ := st.Waiting(); n != 0 {
		t.Errorf("%d writes wait still: each waited for the one before it", n)
	}
}

// A write of before a removal that its process has not heard of is not made; one of a later session is, though it knew
// as little.
func TestWriteBesideAnUnheardRemoval(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	here, there := newStore(t, rdb, prefix), newStore(t, rdb, prefix)
	before := toldTime(t, rdb)
	m := there.BeginRemoval(there.Of(pid, true), nil)
	done, err := there.Remove(ctx, m, true)
	if err != nil {
		t.Fatal(err)
	}
	after := done.Removed.Whole + 1
	for _, c := range []struct {
		session redistime.Time
		ended   bool
	}{{before, true}, {after, false}} {
		ended, err := here.Write(ctx, Batch{Record: here.Of(pid, true),
			Entries: []record.Entry{token(t, "rt", c.session, c.session)}})
		if err != nil || ended != c.ended {
			t.Errorf("of session %d: ended %v, %v", c.session-done.Removed.Whole, ended, err)
		}
	}
	elsewhere := newStore(t, rdb, prefix)
	if err := elsewhere.Load(ctx, elsewhere.Of(pid, true)); err != nil {
		t.Fatal(err)
	}
	if s := elsewhere.Of(pid, true).Known(); len(s.Entries) != 1 ||
		s.Entries[token(t, "rt", 0, 0).Field].Session != after {
		t.Errorf("elsewhere %d entries are known", len(s.Entries))
	}
	if !here.Ended(pid, before, 0) || here.Ended(pid, after, 0) {
		t.Error("what was removed is not known")
	}
}

// A sign-in that was asked for when a removal had been carried out is of after it, though the removal is as of a later
// time: a session that it ended was dated by a clock that is ahead.
func TestSignInAfterARemovalThatIsEarly(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	here, there := newStore(t, rdb, prefix), newStore(t, rdb, prefix)
	if err := there.Load(ctx, there.Of(pid, true)); err != nil {
		t.Fatal(err)
	}
	ahead := there.o.Clock.Now().Add(3 * time.Second)
	if _, err := there.Write(ctx, Batch{Record: there.Of(pid, true),
		Entries: []record.Entry{token(t, "rt", ahead, ahead)}}); err != nil {
		t.Fatal(err)
	}
	if err := here.Load(ctx, here.Of(layout.PartitionID("another"), true)); err != nil {
		t.Fatal(err)
	}
	overtaken := token(t, "rt", here.o.Clock.Now(), 1)
	overtaken.Began = here.elapsed()
	time.Sleep(300 * time.Millisecond) // more than a round trip: by so much Redis's time at Began may be thought earlier
	done, err := there.Remove(ctx, there.BeginRemoval(there.Of(pid, true), nil), true)
	if err != nil || done.Removed.Whole <= ahead {
		t.Fatalf("it is as of %d before the session that it ends: %v", ahead-done.Removed.Whole, err)
	}
	time.Sleep(300 * time.Millisecond)
	since := token(t, "rt", here.o.Clock.Now(), 2)
	since.Began = here.elapsed()
	for what, c := range map[string]struct {
		e     record.Entry
		ended bool
	}{"asked for before": {overtaken, true}, "asked for after": {since, false}} {
		ended, err := here.Write(ctx, Batch{Record: here.Of(pid, true), Entries: []record.Entry{c.e}})
		if err != nil || ended != c.ended {
			t.Errorf("%s: ended %v, %v", what, ended, err)
		}
	}
}

// A removal that Redis has lost is told to it again by who knows it, and ends what somebody else has brought back
// meanwhile.
func TestRemovalThatRedisHasLostIsToldAgain(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	here, there := newStore(t, rdb, prefix), newStore(t, rdb, prefix)
	r := here.Of(pid, true)
	if err := here.Load(ctx, r); err != nil {
		t.Fatal(err)
	}
	old := toldTime(t, rdb)
	if _, err := here.Remove(ctx, here.BeginRemoval(r, nil), true); err != nil {
		t.Fatal(err)
	}
	keys := here.o.Names
	rdb.Del(ctx, keys.Tombstone(pid))
	if _, err := there.Write(ctx, Batch{Record: there.Of(pid, true),
		Entries: []record.Entry{token(t, "rt", old, old)}}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // T may be ahead of Redis's time by a round trip: until then nothing is missing
	if err := here.Reload(ctx, r); err != nil {
		t.Fatal(err)
	}
	stored := func(key string) bool { return rdb.Exists(ctx, key).Val() == 1 }
	for deadline := time.Now().Add(20 * time.Second); !stored(keys.Tombstone(pid)) || stored(keys.Tokens(pid)); {
		if time.Now().After(deadline) {
			t.Fatal("it is not")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Tokens of some scopes that were forgotten are deleted, and others are left; one that was asked for before and comes
// later is not kept.
func TestForgettingSomeScopes(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	st := newStore(t, rdb, prefix)
	app := layout.PartitionID("client_tenant_AppTokenCache")
	r := st.Of(app, false)
	at := func(target string) record.Entry {
		e, err := msaldoc.NewEntry(msaldoc.SectionAccessToken, target,
			[]byte(`{"client_id":"c","realm":"t","secret":"s","target":"`+target+`","expires_on":"9000000000"}`))
		if err != nil {
			t.Fatal(err)
		}
		now := toldTime(t, rdb)
		return record.New(e, now, now)
	}
	if err := st.Load(ctx, r); err != nil {
		t.Fatal(err)
	}
	late := at("a")
	if _, err := st.Write(ctx, Batch{Record: r, Entries: []record.Entry{at("a"), at("a b"), at("b")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Remove(ctx, st.BeginRemoval(r, msaldoc.NewScopes([]string{"A"})), true); err != nil {
		t.Fatal(err)
	}
	if n := rdb.HLen(ctx, st.o.Names.Tokens(app)).Val(); n != 2 {
		t.Errorf("%d fields are left, want one and the version", n)
	}
	if ended, err := st.Write(ctx, Batch{Record: r, Entries: []record.Entry{late}}); !ended || err != nil {
		t.Errorf("one that was asked for before: %v %v", ended, err)
	}
	if ended, err := st.Write(ctx, Batch{Record: r, Entries: []record.Entry{at("a")}}); ended || err != nil {
		t.Errorf("one that was asked for since: %v %v", ended, err)
	}
}

// Times that are issued grow, and are of after what was removed, up to what clocks may differ.
func TestTimesThatAreIssuedGrow(t *testing.T) {
	st := newStore(t, nil, "p")
	now := st.o.Clock.Now()
	last := redistime.Time(0)
	for _, c := range []struct {
		told, removed, want redistime.Time // want 0: later than the last
	}{
		{now, 0, now}, {now, 0, 0}, {now - 5, 0, 0},
		{now, now + 1000, now + 1000},
		{now, now.Add(time.Hour), now.Add(layout.Ahead)},
	} {
		if c.removed > 0 {
			st.Hear(pid, layout.Tombstone{Whole: c.removed})
		}
		got := st.Asked(c.told)
		if got <= last || c.want != 0 && got != c.want {
			t.Errorf("%+v: %d, after %d", c, got-now, last-now)
		}
		last = got
	}
}

// What an operation brings is taken in though its caller has left.
func TestWriteGoesOnWithoutItsCaller(t *testing.T) {
	rdb, prefix := realRedis(t)
	var held atomic.Bool
	st := newStore(t, struct{ *redis.Client }{rdb}, prefix) // not go-redis's own type, whose copies run no hooks
	ctx, leave := context.WithCancel(t.Context())
	rdb.AddHook(before(func(cmd redis.Cmder) {
		if strings.HasPrefix(cmd.Name(), "eval") && held.CompareAndSwap(false, true) {
			leave()
		}
	}))
	now := st.o.Clock.Now()
	_, _ = st.Write(ctx, Batch{Record: st.Of(pid, true), Entries: []record.Entry{token(t, "rt", now, now)}})
	if ctx.Err() == nil {
		t.Fatal("its caller has not left")
	}
	stored := func() bool { return rdb.Exists(t.Context(), st.o.Names.Tokens(pid)).Val() == 1 }
	for deadline := time.Now().Add(20 * time.Second); !stored() || len(st.Of(pid, true).unsaved()) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("it is not stored, or waits still")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// before is called before each command.
type before func(redis.Cmder)

func (f before) DialHook(next redis.DialHook) redis.DialHook { return next }
func (f before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f(cmd)
		return next(ctx, cmd)
	}
}
