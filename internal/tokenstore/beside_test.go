package tokenstore

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// A tombstone whose first number is not the latest of its facts, or that is no number, keeps no write from being made
// for ever.
func TestDamagedTombstoneDoesNotStopWrites(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	st := newStore(t, rdb, prefix)
	now := redistime.Time(time.Now().UnixMicro())
	for _, text := range []string{digits(now.Micros()) + "x", digits(now.Micros()) + " *=5"} {
		rdb.Set(ctx, st.o.Names.Tombstone(pid), text, time.Hour)
		session := st.Asked(now.Add(time.Second))
		ended, err := st.Write(ctx, Batch{Record: st.Of(pid, true),
			Entries: []record.Entry{token(t, "rt", session, session)}})
		if err != nil || ended {
			t.Errorf("beside %q: %v, %v", text, ended, err)
		}
	}
}

// Whoever still has a holder that was evicted signs out for its successor too.
func TestRemovalByAnEvictedHolder(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	st := newStore(t, rdb, prefix)
	evicted := st.Of(pid, true)
	if err := st.Load(ctx, evicted); err != nil {
		t.Fatal(err)
	}
	st.records.Invalidate(pid)
	next := st.Of(pid, true)
	now := st.Asked(st.o.Clock.Now())
	if _, err := st.Write(ctx, Batch{Record: next, Entries: []record.Entry{token(t, "rt", now, now)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Remove(ctx, st.BeginRemoval(evicted, nil), true); err != nil {
		t.Fatal(err)
	}
	if !next.Known().Empty() || next.Known().Checked != 0 {
		t.Error("its successor serves what was removed")
	}
}
