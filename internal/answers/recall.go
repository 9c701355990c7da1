package answers

import (
	"slices"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// Recall is the answer that this process has to a request, if it may be given without a look in Redis: Redis has
// confirmed it within LocalTTL, by the time at which it was asked, and a look would but find it again. nil: look.
//
// A removal that this process knows of has taken it from the memory, or ends it here, where the answer came on its way
// from before the removal. One whose message was lost, and a token that another process has put in its place, are seen
// within LocalTTL, as those of records are. A pause is of who must ask, which nobody must while a token serves.
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
