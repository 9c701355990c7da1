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
