package msalredis

import "testing"

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
