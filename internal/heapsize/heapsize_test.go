package heapsize

import (
	"math"
	"testing"
)

// What an allocation is reckoned by is what it takes.
func TestOf(t *testing.T) {
	off := 0.0
	for n := 1; n <= 40_000; n += 1 + n/64 {
		if takes := float64(cap(append([]byte(nil), make([]byte, n)...))); n > 64 {
			off = max(off, math.Abs(float64(Of(n))/takes-1))
		}
	}
	if off > 0.15 {
		t.Errorf("an allocation of more than 64 bytes is reckoned %.2f off, want at most 0.15", off)
	}
	if Of(0) != 0 || Of(1) < 8 {
		t.Error("small ones are not")
	}
}
