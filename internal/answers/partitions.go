package answers

import (
	"slices"
	"sync"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// partitions finds the identities of a partition, so that a removal costs what it is of, and not what is known. It has
// exactly what the memory has: an identity enters and moves with its put and leaves when the memory deletes it, for
// whatever reason, both under the memory's lock of that identity. mu is taken under that one and nothing is called
// under it.
type partitions struct {
	mu    sync.Mutex
	known map[layout.ID]identities
}

// identities are those of one partition. A user has one or few: a map of its own would take as much as an answer.
type identities struct {
	one  layout.ID // "": none
	more map[layout.ID]struct{}
}

// move moves an identity from partitions to others.
func (ps *partitions) move(identity layout.ID, from, to []layout.ID) {
	if slices.Equal(from, to) {
		return
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, partition := range from {
		ids := ps.known[partition]
		if ids.one == identity {
			ids.one = ""
		}
		delete(ids.more, identity)
		if ids.one == "" && len(ids.more) == 0 {
			delete(ps.known, partition)
		} else {
			ps.known[partition] = ids
		}
	}
	for _, partition := range to {
		ids := ps.known[partition]
		switch _, has := ids.more[identity]; {
		case has:
		case ids.one == "" || ids.one == identity:
			ids.one = identity
		case ids.more == nil:
			ids.more = map[layout.ID]struct{}{identity: {}}
		default:
			ids.more[identity] = struct{}{}
		}
		ps.known[partition] = ids
	}
}

// of are the identities of a partition.
func (ps *partitions) of(partition layout.ID) []layout.ID {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ids := ps.known[partition]
	if ids.one == "" && len(ids.more) == 0 {
		return nil
	}
	all := make([]layout.ID, 0, 1+len(ids.more))
	if ids.one != "" {
		all = append(all, ids.one)
	}
	for identity := range ids.more {
		all = append(all, identity)
	}
	return all
}
