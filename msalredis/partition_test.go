package msalredis

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
)

// A holder that is evicted while its change is under way does not come back, neither alone nor in the place of its successor:
// managers have been told to ask for another.
func TestEvictedHolderDoesNotComeBack(t *testing.T) {
	c := newFuzzCache(t, nil)
	ps := c.partitions
	evicted := ps.of("uid.utid")
	ps.known.Invalidate(evicted.pid)
	if !evicted.evicted.Swap(false) { // as one sees it who looked just before
		t.Fatal("it was not told")
	}
	ps.weigh(evicted)
	if ps.peek(evicted.pid) != nil {
		t.Error("it is held again")
	}
	next := ps.of("uid.utid")
	ps.weigh(evicted)
	if ps.peek(evicted.pid) != next {
		t.Error("it has put its successor out")
	}
	ps.weigh(next)
	if ps.peek(evicted.pid) != next || next.evicted.Load() {
		t.Error("weighing a holder has put it out")
	}
}

// The account goes along with a new refresh token and takes the place of what is in Redis, which an older key may have sealed, also
// where its stamp is the later one.
func TestAccountIsSealedAnewWithEveryRefreshToken(t *testing.T) {
	entry := func(section string, stamp int64) stored {
		e, err := msaldoc.NewEntry(section, "key", []byte(`{"home_account_id":"uid.utid"}`))
		if err != nil {
			t.Fatal(err)
		}
		return newStored(e, stamp)
	}
	for _, refreshed := range []int64{900, 1000, 1100} {
		account := entry(msaldoc.SectionAccount, 1000)
		out := resealed([]stored{entry(msaldoc.SectionRefreshToken, refreshed)}, &snapshot{entries: map[string]stored{account.field: account}})
		if len(out) != 2 || out[1].Section != msaldoc.SectionAccount || out[1].stamp <= account.stamp || out[1].stamp < refreshed {
			t.Errorf("with a refresh token of %d the account of %d is written as %v", refreshed, account.stamp, out)
		}
	}
}
