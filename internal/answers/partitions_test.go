package answers

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/stage"
)

// checkPartitions holds what is known of partitions to what the memory has.
func checkPartitions(t *testing.T, m *memory) {
	t.Helper()
	refs := 0
	for identity, s := range m.seen.All() {
		for _, partition := range slices.Compact(slices.Sorted(slices.Values(s.partitions))) {
			refs++
			if !slices.Contains(m.partitions.of(partition), identity) {
				t.Errorf("%s is not found by its partition %s", identity, partition)
			}
		}
	}
	for partition := range m.partitions.known {
		of := m.partitions.of(partition)
		refs -= len(of)
		if len(of) == 0 {
			t.Errorf("partition %s has no identity", partition)
		}
	}
	if refs != 0 {
		t.Errorf("partitions have %d identities more than the memory", -refs)
	}
}

// A removal finds an identity by the partitions of its latest answer, and by no other's.
func TestForgetGoesByTheLatestPartitions(t *testing.T) {
	s := newShared(t)
	m := s.memory
	answer := func() *Answer { return said(200, stage.GoodToken, s.o.Clock.Now()) }
	m.put("x", []layout.ID{"a", "b"}, answer())
	m.put("x", []layout.ID{"b", "c"}, answer())
	m.put("y", []layout.ID{"c"}, answer())
	checkPartitions(t, m)
	m.forget("a", 1)
	if m.of("x").answer == nil {
		t.Error("it is forgotten with a partition that it has left")
	}
	m.forget("b", 1)
	if m.of("x").answer != nil || m.of("y").answer == nil {
		t.Error("not that of the partition is forgotten")
	}
	checkPartitions(t, m)
	m.forget("c", 1)
	if len(m.partitions.known) > 0 {
		t.Errorf("%d partitions are left of nothing", len(m.partitions.known))
	}
}

// counted counts what the memory is asked for.
type counted struct {
	bounded.Cache[layout.ID, seen]
	asked int
}

func (c *counted) All() iter.Seq2[layout.ID, seen] { c.asked += 1000; return c.Cache.All() }
func (c *counted) Compute(
	key layout.ID, f func(seen, bool) (seen, otter.ComputeOp),
) (seen, bool) {
	c.asked++
	return c.Cache.Compute(key, f)
}

// What a removal looks at is what it is of, and not what is known.
func TestForgetLooksAtItsOwnAnswers(t *testing.T) {
	s := newShared(t)
	m := newMemory(64 << 20)
	for n := range 1000 {
		m.put(layout.ID(fmt.Sprint(n)), []layout.ID{layout.ID(fmt.Sprint("user", n/2))}, said(200, "", s.o.Clock.Now()))
	}
	c := &counted{Cache: m.seen}
	m.seen = c
	m.forget("user7", 1)
	m.forget("nobody", 1)
	if c.asked != 2 {
		t.Errorf("it has looked at %d answers, want the 2 of its user", c.asked)
	}
}

// What is known of partitions is what the memory has, whatever is put, forgotten and pushed out at the same time.
func TestPartitionsAreThoseOfTheMemory(t *testing.T) {
	s := newShared(t)
	m := newMemory(64 << 10)
	id := func(kind string, n int) layout.ID { return layout.ID(fmt.Sprint(kind, rand.N(n))) }
	short := said(200, stage.GoodToken, s.o.Clock.Now())
	neverFits := `{"access_token":"` + strings.Repeat("a", 70<<10) + `","expires_in":3600}`
	long := said(200, neverFits, s.o.Clock.Now())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				switch rand.N(10) {
				case 0:
					m.forget(id("partition", 40), 1)
				case 1:
					m.seen.Invalidate(id("identity", 400))
				case 2:
					m.endPause(id("identity", 400))
				case 3:
					m.put(id("identity", 400), []layout.ID{id("partition", 40)}, long)
				default:
					m.put(id("identity", 400), []layout.ID{id("partition", 40), id("partition", 40)}, short)
				}
			}
		})
	}
	wg.Wait()
	checkPartitions(t, m)
	m.seen.InvalidateAll()
	if len(m.partitions.known) > 0 {
		t.Errorf("%d partitions are left of nothing", len(m.partitions.known))
	}
}
