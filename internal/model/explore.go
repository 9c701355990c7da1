package model

import "hash/maphash"

// Result is what an exploration has found.
type Result struct {
	States int
	Cut    bool     // there are more states than were to be visited
	Broken string   // the invariant that can be broken; "": none
	Trace  []string // a shortest way there
}

// Emit takes one step: what it leads to, the invariant that the step itself breaks ("": none), and its name, which
// is asked for only where a trace is made.
type Emit[S comparable] func(to S, broken string, name func() string)

// System is what is explored. Steps gives all steps that can be taken from a state, always in the same order;
// Check tells which invariant a state breaks, "" for none.
type System[S comparable] struct {
	Start S
	Steps func(S, Emit[S])
	Check func(S) string
}

// parent is how a state was first reached: from which one, counted in the order of discovery, and by which of its
// steps.
type parent struct {
	from int32
	step int32
}

// Explore visits every state that can be reached, breadth first, atMost of them, and ends at the first invariant
// that is broken: what it gives is a shortest trace, and the same one each time.
//
// Of a visited state only a 64-bit hash is kept, and how it was reached; a state in full is kept while its level
// is visited. That two of a million states have one hash, so that one of them is passed over, has a chance of one
// in 37 million.
func Explore[S comparable](sys System[S], atMost int) Result {
	seed := maphash.MakeSeed()
	seen := map[uint64]struct{}{maphash.Comparable(seed, sys.Start): {}}
	parents := []parent{{-1, 0}}
	level, next := []S{sys.Start}, []S(nil)
	var result Result
	first := int32(0) // the number of level[0]
	for len(level) > 0 {
		for i, s := range level {
			number := first + int32(i)
			if broken := sys.Check(s); broken != "" {
				return Result{len(parents), false, broken, sys.trace(parents, number, -1)}
			}
			step := int32(0)
			sys.Steps(s, func(to S, broken string, _ func() string) {
				here := step
				step++
				if result.Broken != "" || result.Cut {
					return
				}
				if broken != "" {
					result = Result{len(parents), false, broken, sys.trace(parents, number, here)}
					return
				}
				hash := maphash.Comparable(seed, to)
				if _, known := seen[hash]; known {
					return
				}
				if len(parents) >= atMost {
					result = Result{States: len(parents), Cut: true}
					return
				}
				seen[hash] = struct{}{}
				parents = append(parents, parent{number, here})
				next = append(next, to)
			})
			if result.Broken != "" || result.Cut {
				return result
			}
		}
		first += int32(len(level))
		level, next = next, level[:0]
	}
	return Result{States: len(parents)}
}

// trace takes the steps to a state once more, from the start, and then one more; -1: none.
func (sys System[S]) trace(parents []parent, number, last int32) (names []string) {
	var path []int32
	for ; number > 0; number = parents[number].from {
		path = append(path, parents[number].step)
	}
	s := sys.Start
	take := func(wanted int32) {
		step, to := int32(0), s
		sys.Steps(s, func(there S, _ string, name func() string) {
			if step == wanted {
				to = there
				names = append(names, name())
			}
			step++
		})
		s = to
	}
	for i := len(path) - 1; i >= 0; i-- {
		take(path[i])
	}
	if last >= 0 {
		take(last)
	}
	return names
}
