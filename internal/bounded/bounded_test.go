package bounded

import (
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
			for n := range 1000 {
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
