package heapsize

import "math/bits"

// Of is about what an allocation of n bytes takes: Go rounds it up to one of its size classes, which are about an
// eighth apart.
func Of(n int) int64 {
	step := max(16, 1<<bits.Len(uint(n))>>4)
	return int64((n + step - 1) / step * step)
}

// OfMap is about what a map of n keys and values takes, of which each pair takes so many bytes in it: a group of eight,
// and where one does not do, so many that the slots are a power of two and at most seven in eight of them are used.
func OfMap(n, pair int) int64 {
	const itself = 48
	if n == 0 {
		return itself
	}
	slots := 8
	if n > slots {
		slots = 1 << bits.Len(uint(n*8/7))
	}
	return itself + Of(slots*(pair+1))
}
