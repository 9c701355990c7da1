// Package heapsize is what Go takes of the heap for what this process remembers, so that what bounds memory reckons by
// what memory is used. It is pure.
package heapsize
