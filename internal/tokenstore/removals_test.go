package tokenstore

import (
	"strconv"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// A removal stays known while half as many others as there is room for are learnt of, however many came before it.
func TestLatestRemovalsAreKnown(t *testing.T) {
	st := newStore(t, nil, "p")
	removed := layout.Tombstone{Whole: st.o.Clock.Now()}
	const n, since = 2 * removalsAtMost, removalsAtMost / 2
	for i := range n {
		st.Hear(ID(strconv.Itoa(i)), removed)
	}
	for i := n - since; i < n; i++ {
		if !st.Ended(ID(strconv.Itoa(i)), removed.Whole-1, 0) {
			t.Fatalf("one of %d removals ago is not known", n-i)
		}
	}
}
