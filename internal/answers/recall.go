package answers

import (
	"slices"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// Recall is the answer that this process has to a request, if it may be given without a look in Redis: Redis was
// asked less than LocalTTL ago, and had it then. nil: look.
//
// A removal that this process knows of has taken the answer from the memory; one that came while the answer was on its
// way ends it here. A removal whose message was lost, and a newer token of another process, are seen within LocalTTL,
// as those of records are. A pause does not matter here: it keeps from asking Entra ID, which nobody does while a token
// serves.
func (s *Shared) Recall(r *Request) *Answer {
	if !r.recalled() {
		return nil
	}
	here := s.memory.of(r.ID)
	a, now := here.answer, s.o.Clock.Now()
	switch {
	case here.confirmed == 0 || s.elapsed()-here.confirmed >= s.o.LocalTTL:
		return nil
	case !a.Usable(now) || a.IsDue(now):
		return nil
	case slices.ContainsFunc(r.Partitions, func(p layout.ID) bool { return !slices.Contains(here.listed, p) }):
		// A client has come by another name of the tenant: MSAL will keep the token where no removal finds it yet.
		return nil
	case s.ended(r, a, here.partitions) || s.ended(r, a, here.listed):
		return nil
	}
	return a
}
