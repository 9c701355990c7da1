// Package bounded is memories that forget when they are full: a [Cache] the least useful, a [Recent] the oldest.
//
// A Cache is otter, behind an interface. The interface saves compilation. A package that uses a struct with an
// otter.Cache in it, however deep, compiles all of otter again for that cache's types: six times in each application,
// and in each folder of tests. A [Cache] is compiled only where it is made.
//
// Both are safe for concurrent use: a Cache by otter's own locks, a Recent by one RWMutex, under which only the
// function that a caller gives to Change is called.
package bounded

import (
	"iter"

	"github.com/maypok86/otter/v2"
)

// Cache is what is used of an [otter.Cache]. It is safe for concurrent use.
type Cache[K comparable, V any] interface {
	GetIfPresent(key K) (V, bool)
	Set(key K, value V) (V, bool)
	Compute(key K, f func(old V, found bool) (V, otter.ComputeOp)) (V, bool)
	ComputeIfPresent(key K, f func(old V) (V, otter.ComputeOp)) (V, bool)
	Invalidate(key K) (V, bool)
	InvalidateAll()
	All() iter.Seq2[K, V]
	WeightedSize() uint64
	StopAllGoroutines() bool
}

// New makes a Cache, which does its upkeep in the goroutine that writes. That takes a microsecond; a goroutine of its
// own would wake a thread at each write, and that thread takes the processor on which Redis was about to answer. New
// panics if otter refuses the options, which is a mistake in the code.
func New[K comparable, V any](o otter.Options[K, V]) Cache[K, V] {
	o.Executor = func(upkeep func()) { upkeep() }
	return otter.Must(&o)
}
