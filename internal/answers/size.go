package answers

import (
	"unsafe"

	"github.com/msal-redis/msal-redis-go/internal/heapsize"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

const (
	idSize = 32 // of a name's text
	// seenSize is about what an identity takes: its name, and its place in the cache, a node and a slot in a table.
	seenSize = idSize + int64(unsafe.Sizeof(seen{})) + 64 + 16
	// partitionSize is about what each of its partitions takes: the name, here and in what finds identities by it.
	partitionSize = idSize + 2*int64(unsafe.Sizeof(layout.ID(""))) + 64
)

// size is about what it takes of memory.
func (s seen) size() int64 {
	size := seenSize + int64(len(s.of()))*partitionSize
	for _, a := range []*Answer{s.answer, s.pause, s.own} {
		if a != nil {
			size += a.size()
		}
	}
	return size
}

// size is about what it takes of memory. The body is there twice: as it came, and with the life that was left when
// it was last given to a caller.
func (a *Answer) size() int64 {
	const pair = 2 * int(unsafe.Sizeof(""))
	size := heapsize.Of(int(unsafe.Sizeof(Answer{}))) + heapsize.Of(int(unsafe.Sizeof(tokenresp.Answer{}))) +
		heapsize.Of(cap(a.Body)) + heapsize.Of(len(a.Body)) + heapsize.OfMap(len(a.Header), pair) + heapsize.Of(len(a.Of))
	for _, v := range a.Header {
		size += heapsize.Of(len(v))
	}
	return size
}
