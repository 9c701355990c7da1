package tokenstore

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// A tombstone whose first number is not the latest of its facts, or that is no number, keeps no write from being made for ever.
func TestDamagedTombstoneDoesNotStopWrites(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	st := newStore(t, rdb, prefix)
	now := redistime.Time(time.Now().UnixMicro())
	for _, text := range []string{digits(now.Micros()) + "x", digits(now.Micros()) + " *=5"} {
		rdb.Set(ctx, st.o.Names.Tombstone(pid), text, time.Hour)
		session := st.Asked(now.Add(time.Second))
		ended, err := st.Write(ctx, Batch{Record: st.Of(pid, true), Entries: []record.Entry{token(t, "rt", session, session)}})
		if err != nil || ended {
			t.Errorf("beside %q: %v, %v", text, ended, err)
		}
	}
}
