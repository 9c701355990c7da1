package bounded

import (
	"strconv"
	"sync"
	"testing"

	"github.com/maypok86/otter/v2"
)

// A memory holds to its bound at every moment, because whoever writes also clears up: what a write has pushed out is
// gone, and told, before the write returns.
func TestWhoWritesClearsUp(t *testing.T) {
	for name, test := range map[string]struct {
		options otter.Options[int, int]
		weight  int // of each
	}{
		"by number": {otter.Options[int, int]{MaximumSize: 100}, 1},
		"by weight": {otter.Options[int, int]{
			MaximumWeight: 100, Weigher: func(_, value int) uint32 { return uint32(value) },
		}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			told := 0
			test.options.OnDeletion = func(e otter.DeletionEvent[int, int]) { told += e.Value }
			c := New(test.options)
			for n := range 300 {
				c.Set(n, test.weight)
				has := 0
				for _, value := range c.All() {
					has += value
				}
				if has > 100 || has+told != (n+1)*test.weight {
					t.Fatalf("after %d writes it has %d, and %d were told to be gone", n+1, has, told)
				}
			}
		})
	}
}

// Options that contradict each other are a mistake in the code, which no error need tell.
func TestRefusedOptionsPanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a memory with two bounds is made")
		}
	}()
	New(otter.Options[int, int]{MaximumSize: 1, MaximumWeight: 1})
}

// A Recent forgets the oldest, and nothing of the latest half of its bound, however often others were looked for or
// written.
func TestTheOldestIsForgotten(t *testing.T) {
	const atMost = 100
	r, known := NewRecent[int, string](atMost), 0
	for n := range 300 {
		r.Set(n, strconv.Itoa(n))
		r.Change(n, func(old string) string { return old + "!" })
		known = 0
		for i := range n + 1 {
			value, ok := r.Of(i)
			if ok {
				known++
			}
			if ok != (value == strconv.Itoa(i)+"!") || !ok && i > n-atMost/2 {
				t.Fatalf("after %d writes %d is known: %v, as %q", n+1, i, ok, value)
			}
		}
		if known > atMost {
			t.Fatalf("after %d writes %d are known", n+1, known)
		}
	}
}

// What is written again is the latest, and goes on from what was known of it, whoever writes meanwhile.
func TestChangesAreNotLost(t *testing.T) {
	const writers, times, atMost = 4, 1000, 16
	r := NewRecent[int, int](atMost)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range times {
				r.Change(-1, func(old int) int { return old + 1 })
				r.Set(w*times+n, 0)
				r.Of(-1)
			}
		})
	}
	all.Wait()
	if got, _ := r.Of(-1); got != writers*times {
		t.Errorf("%d changes are known, want %d", got, writers*times)
	}
}
