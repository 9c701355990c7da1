package msalredis

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// assertions is what this process knows of the on-behalf-of tokens in MSAL's memory. MSAL keeps them by assertion, and its
// managers of them can neither be read nor changed, only emptied, all at once. That is done when there are too many, and when a
// user signs out whose tokens may be among them; the others cost a look at the fleet's answers then, and no request.
//
// A token that was asked for before a sign-out may be on its way to MSAL when that is heard, and be stored after the emptying:
// it is known by its assertion, which the gate has noted before, and emptied away in its turn.
type assertions struct {
	atMost int
	epoch  atomic.Int64 // how often all managers had to be emptied

	removed func(id) layout.Tombstone

	mu     sync.RWMutex
	known  map[string]*handedOver // by MSAL's partition key
	before map[string]*handedOver // those known when there were too many: MSAL may still be storing one
}

// handedOver is the last answer to an assertion that the gate gave to MSAL.
type handedOver struct {
	owners []id  // none: it came past the gate, or is of a user whom nothing names
	asked  int64 // Redis's time, microseconds; 0: it came past the gate
	late   bool  // asked for before the user signed out: MSAL must not keep it
}

func newAssertions(localBytes int64, removed func(id) layout.Tombstone) *assertions {
	// About 8 KB each in MSAL's memory.
	return &assertions{atMost: int(max(64, localBytes/(8<<10))), removed: removed, known: map[string]*handedOver{}}
}

// of is what is known of an assertion, which is known from now on. The caller holds mu.
func (as *assertions) of(key string) *handedOver {
	h := as.known[key]
	if h == nil {
		if len(as.known) >= as.atMost {
			as.before, as.known = as.known, map[string]*handedOver{}
			as.epoch.Add(1)
		}
		if h = as.before[key]; h == nil {
			h = &handedOver{}
		}
		as.known[key] = h
	}
	return h
}

// used takes note of an assertion that MSAL looks for, and tells how often all managers had to be emptied.
func (as *assertions) used(key string) (epoch int64) {
	as.mu.RLock()
	h := as.known[key]
	late := h != nil && h.late
	as.mu.RUnlock()
	if late {
		as.epoch.Add(1) // MSAL does not say that it has stored an answer whose scopes were declined
	}
	if h == nil {
		as.mu.Lock()
		as.of(key)
		as.mu.Unlock()
	}
	return as.epoch.Load()
}

// has tells whether MSAL has looked for tokens under a key as an assertion's.
func (as *assertions) has(key string) bool {
	as.mu.RLock()
	defer as.mu.RUnlock()
	return as.known[key] != nil || as.before[key] != nil
}

// gave takes note of an answer before MSAL has it.
func (as *assertions) gave(key string, owners []id, asked int64) {
	as.mu.Lock()
	defer as.mu.Unlock()
	h := as.of(key)
	if len(owners) == 0 {
		owners = h.owners
	}
	late := slices.ContainsFunc(owners, func(pid id) bool { return redistime.Time(asked) < as.removed(pid).Whole })
	*h = handedOver{owners: owners, asked: asked, late: late}
}

// of tells whether a sign-out of a partition's user concerns the answer: that of a user whom nothing names may be anyone's.
func (h *handedOver) of(pid id) bool {
	return len(h.owners) == 0 && h.asked > 0 || slices.Contains(h.owners, pid)
}

// stored is called when MSAL has stored what it was given for an assertion, or for another key.
func (as *assertions) stored(key string) {
	as.mu.RLock()
	defer as.mu.RUnlock()
	h := as.known[key]
	if h == nil {
		h = as.before[key]
	}
	if h != nil && h.late {
		as.epoch.Add(1)
	}
}

// remove empties MSAL's memory of a user's tokens that a removal has ended. here: the user has signed out in this process, where
// tokens may have got past the gate.
func (as *assertions) remove(pid id, removed layout.Tombstone, here bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	found := here
	for _, known := range []map[string]*handedOver{as.known, as.before} {
		for _, h := range known {
			if h.of(pid) && redistime.Time(h.asked) < removed.Whole {
				h.late, found = true, true
			}
		}
	}
	if found {
		as.epoch.Add(1)
	}
}

// removeAll empties MSAL's memory of all tokens: sign-outs may have gone unheard.
func (as *assertions) removeAll() { as.epoch.Add(1) }
