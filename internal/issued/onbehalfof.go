package issued

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// OnBehalfOf is what this process knows of the on-behalf-of tokens in MSAL's memory. MSAL keeps them by assertion, and
// its managers of them can neither be read nor changed, only emptied, all at once. That is done when there are too
// many, and when a user signs out whose tokens may be among them. The tokens of the others then cost a look at the
// fleet's answers, and no request.
//
// When a sign-out is heard, a token that was asked for before it may still be on its way to MSAL, which stores it after
// the emptying. The gate has noted its assertion before, so when MSAL stores it, the managers are emptied again.
type OnBehalfOf struct {
	atMost    int
	emptyings atomic.Int64 // how often all managers had to be emptied

	removed func(layout.ID) layout.Tombstone

	mu     sync.RWMutex
	known  map[string]*handedOver // by MSAL's partition key
	before map[string]*handedOver // those known when there were too many: MSAL may still be storing one
	latest redistime.Time         // of all sign-outs: an answer that names no user may be of any of them
}

// handedOver is the last answer to an assertion that the gate gave to MSAL.
type handedOver struct {
	owners []layout.ID    // none: it came past the gate, or is of a user whom nothing names
	asked  redistime.Time // 0: it came past the gate
	late   bool           // asked for before the user signed out: MSAL must not keep it
	looked bool           // MSAL has looked for it in a manager of on-behalf-of tokens
}

// NewOnBehalfOf makes an OnBehalfOf for tokens of so many bytes. removed is what is known to be removed of a partition.
func NewOnBehalfOf(localBytes int64, removed func(layout.ID) layout.Tombstone) *OnBehalfOf {
	// About 8 KB each in MSAL's memory.
	return &OnBehalfOf{atMost: int(max(64, localBytes/(8<<10))), removed: removed, known: map[string]*handedOver{}}
}

// of is what is known of an assertion, which is known from now on. The caller holds mu.
func (o *OnBehalfOf) of(key string) *handedOver {
	h := o.known[key]
	if h == nil {
		if len(o.known) >= o.atMost {
			o.before, o.known = o.known, map[string]*handedOver{}
			o.emptyings.Add(1)
		}
		if h = o.before[key]; h == nil {
			h = &handedOver{}
		}
		o.known[key] = h
	}
	return h
}

// Used takes note of an assertion that MSAL looks for, and tells how often all managers had to be emptied.
func (o *OnBehalfOf) Used(key string) (emptyings int64) {
	o.mu.RLock()
	h := o.known[key]
	late, looked := h != nil && h.late, h != nil && h.looked
	o.mu.RUnlock()
	if late {
		o.emptyings.Add(1) // MSAL does not say that it has stored an answer whose scopes were declined
	}
	if !looked {
		o.mu.Lock()
		o.of(key).looked = true
		o.mu.Unlock()
	}
	return o.emptyings.Load()
}

// Gave takes note of an answer before MSAL has it.
func (o *OnBehalfOf) Gave(key string, owners []layout.ID, asked redistime.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.of(key)
	if len(owners) == 0 {
		owners = h.owners
	}
	late := len(owners) == 0 && asked < o.latest ||
		slices.ContainsFunc(owners, func(pid layout.ID) bool { return asked < o.removed(pid).Whole })
	*h = handedOver{owners: owners, asked: asked, late: late, looked: h.looked}
}

// of tells whether a sign-out of a partition's user concerns the answer. An answer that names no user may be anyone's.
func (h *handedOver) of(pid layout.ID) bool {
	return len(h.owners) == 0 && h.asked > 0 || slices.Contains(h.owners, pid)
}

// Stored is called when MSAL has stored what it was given for an assertion, or for another key. True: MSAL has looked
// for it in a manager of on-behalf-of tokens, and so has stored it in none of the others. That the gate has seen the
// assertion does not tell that: a MSAL that kept such tokens with the others would look for them there.
func (o *OnBehalfOf) Stored(key string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	h := o.known[key]
	if h == nil {
		h = o.before[key]
	}
	if h != nil && h.late {
		o.emptyings.Add(1)
	}
	return h != nil && h.looked
}

// Remove empties MSAL's memory if tokens of a user may be in it that a removal has ended. here: the user has signed out
// in this process; then they may always be, as tokens may have got past the gate.
func (o *OnBehalfOf) Remove(pid layout.ID, removed layout.Tombstone, here bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.latest = max(o.latest, removed.Whole)
	found := here
	for _, known := range []map[string]*handedOver{o.known, o.before} {
		for _, h := range known {
			if h.of(pid) && h.asked < removed.Whole {
				h.late, found = true, true
			}
		}
	}
	if found {
		o.emptyings.Add(1)
	}
}

// RemoveAll empties MSAL's memory of all tokens: sign-outs may have gone unheard.
func (o *OnBehalfOf) RemoveAll() { o.emptyings.Add(1) }

// Emptyings is how often all managers had to be emptied.
func (o *OnBehalfOf) Emptyings() int64 { return o.emptyings.Load() }
