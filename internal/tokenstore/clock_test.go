package tokenstore

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// A process whose clock is far ahead of Redis's, and that has issued a time before it knew that, signs out as all do.
func TestRemovalAfterATimeByAWrongClock(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	for _, first := range []bool{true, false} {
		here, there := newStore(t, rdb, prefix), newStore(t, rdb, prefix)
		id := layout.PartitionID(prefix)
		here.o.Clock.Wall = func() time.Time { return time.Now().Add(10 * time.Hour) }
		here.Asked(here.o.Clock.Now()) // a sign-in, while Redis is away
		m := here.BeginRemoval(here.Of(id, true), nil)
		done, err := here.Remove(ctx, m, first)
		if err != nil {
			t.Fatal(err)
		}
		if ahead := done.Removed.Whole.Sub(redistime.Time(time.Now().UnixMicro())); ahead.Abs() > time.Minute {
			t.Errorf("first %v: it is as of a time that is %v ahead", first, ahead)
		}
		old := redistime.Time(time.Now().Add(-time.Minute).UnixMicro())
		ended, err := there.Write(ctx, Batch{Record: there.Of(id, true), Entries: []record.Entry{token(t, "rt", old, old)}})
		if err != nil || !ended {
			t.Errorf("first %v: a refresh of before is stored: %v, %v", first, ended, err)
		}
		rdb.Del(ctx, here.o.Names.Tombstone(id), here.o.Names.Tokens(id))
	}
}

// What was issued by a wrong clock does not date what is asked for once Redis's is known.
func TestTimeByAWrongClockIsForgotten(t *testing.T) {
	st := newStore(t, nil, "p")
	now := redistime.Time(time.Now().UnixMicro())
	st.Asked(now.Add(10 * time.Hour))
	if got := st.Asked(now); got != now {
		t.Errorf("it is %v ahead", got.Sub(now))
	}
	st.o.Clock.Wall = func() time.Time { return time.Now().Add(10 * time.Hour) }
	st.BeginRemoval(st.Of(pid, true), nil)
	if got := st.Asked(now); got > now+1 {
		t.Errorf("after a removal it is %v ahead", got.Sub(now))
	}
}

// A process's clock is 1.9 s ahead (less than the tolerance), and was read before Redis told its time. What it asks for
// before a removal elsewhere is ended by that.
func TestTimeOfBeforeRedisToldItsOwnIsForgotten(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	here, there := newStore(t, rdb, prefix), newStore(t, rdb, prefix)
	here.o.Clock.Wall = func() time.Time { return time.Now().Add(1900 * time.Millisecond) }
	here.o.Clock.Now() // gate/request.go begins with that
	if err := here.Load(ctx, here.Of(pid, false)); err != nil {
		t.Fatal(err)
	}
	asked := here.Asked(here.o.Clock.Now()) // gate/ask.go, post
	if ahead := asked.Sub(toldTime(t, rdb)); ahead > 0 {
		t.Errorf("asked is %v ahead of Redis", ahead)
	}
	time.Sleep(300 * time.Millisecond)
	done, err := there.Remove(ctx, there.BeginRemoval(there.Of(pid, false), nil), true)
	if err != nil {
		t.Fatal(err)
	}
	if asked >= done.Removed.Whole {
		t.Errorf("a removal 300 ms later has not ended it: asked %d, removed %d", asked, done.Removed.Whole)
	}
}

// A removal that Redis refused at first ends what another had asked for before it. The clock was learnt by a round trip
// of 200 ms, as long there as back.
func TestRetriedRemovalEndsWhatWasBefore(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	here, there := newStore(t, rdb, prefix), newStore(t, rdb, prefix)
	if err := there.Load(ctx, there.Of(pid, false)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	time.Sleep(100 * time.Millisecond)
	told := toldTime(t, rdb)
	time.Sleep(100 * time.Millisecond)
	here.o.Clock.Observe(start, time.Now(), told)
	asked := there.Asked(there.o.Clock.Now())
	time.Sleep(30 * time.Millisecond)
	m := here.BeginRemoval(here.Of(pid, false), nil)
	done, err := here.Remove(ctx, m, false)
	if err != nil {
		t.Fatal(err)
	}
	if asked >= done.Removed.Whole {
		t.Errorf("asked for 30 ms before, and is not ended: by %v", asked.Sub(done.Removed.Whole))
	}
}

// A sign-in in the process that has signed the user out stays, when the sign-out comes to Redis late. The clock was
// learnt by a round trip of 200 ms.
func TestRetriedRemovalEndsNoLaterSignInHere(t *testing.T) {
	rdb, prefix := realRedis(t)
	here := newStore(t, rdb, prefix)
	start := time.Now()
	time.Sleep(100 * time.Millisecond)
	told := toldTime(t, rdb)
	time.Sleep(100 * time.Millisecond)
	here.o.Clock.Observe(start, time.Now(), told)
	m := here.BeginRemoval(here.Of(pid, true), nil)
	asked := here.Asked(here.o.Clock.Now())
	done, err := here.Remove(t.Context(), m, false)
	if err != nil {
		t.Fatal(err)
	}
	if asked < done.Removed.Whole {
		t.Errorf("a sign-in after it is ended: by %v", done.Removed.Whole.Sub(asked))
	}
}
