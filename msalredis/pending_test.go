package msalredis

import (
	"context"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
)

// Where no more may wait, what waits already is not lost, and what comes later of the same tokens takes its place.
func TestWhatWaitsIsNotLostToWhatFindsNoRoom(t *testing.T) {
	c := newFuzzCache(t, nil)
	c.redis.Breaker.Open() // nothing is pushed
	p := c.partitions.of("uid.utid")
	token := func(key string, stamp int64) stored {
		e, err := msaldoc.NewEntry(msaldoc.SectionRefreshToken, key, []byte(`{"secret":"s"}`))
		if err != nil {
			t.Fatal(err)
		}
		return newStored(e, stamp)
	}
	keep := func(entries ...stored) { c.pending.keepEntries(batch{p: p, entries: entries}) }
	c.o.LocalBytes = token("a", 1).size()
	for _, step := range []struct {
		entries []stored
		want    int64 // the stamp of what waits
	}{
		{[]stored{token("a", 2)}, 2},
		{[]stored{token("a", 1), token("b", 1)}, 2},
		{[]stored{token("a", 3), token("b", 3)}, 3},
	} {
		keep(step.entries...)
		if got := p.unsaved[token("a", 1).field].stamp; got != step.want || len(p.unsaved) != 1 {
			t.Errorf("the stamp of what waits is %d, want %d; %d entries", got, step.want, len(p.unsaved))
		}
	}
}

// What has been pushed, or was forgotten by a sign-out, takes no room any more.
func TestRoomOfWhatWaitsNoMore(t *testing.T) {
	c := newFuzzCache(t, nil)
	c.redis.Breaker.Open()
	p := c.partitions.of("uid.utid")
	e, err := msaldoc.NewEntry(msaldoc.SectionRefreshToken, "a", []byte(`{"secret":"s"}`))
	if err != nil {
		t.Fatal(err)
	}
	other := &waiting{size: 1, push: func(context.Context) error { return redisop.ErrReply }}
	c.pending.keep("other", other)
	c.pending.keepEntries(batch{p: p, entries: []stored{newStored(e, 1)}})
	c.forgetHere(p, nil)
	c.redis.Breaker.Close()
	c.pending.push(t.Context())
	if n, _, bytes := c.pending.waitingNow(); n != 1 || bytes != 1 {
		t.Errorf("%d writes wait, of %d bytes; want the one that Redis refuses", n, bytes)
	}
}
