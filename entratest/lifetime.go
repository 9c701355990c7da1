package entratest

import (
	"fmt"
	"hash/fnv"
	"time"
)

// What was recorded of Entra ID, in seconds: a user's token lives from the first to the second of these, an app's for
// one of the other two.
const (
	userShortest, userLongest = 3599, 4922
	appOrdinary, appLong      = 3599, 86399
)

// vary sets the lifetimes of the answer to come, where Behavior.VaryLifetimes says so. The n-th answer to the same app,
// user, tenant and resource has the same with the same seed, whatever else happens in between. A user is nobody for an
// app's token.
func (s *Server) vary(q *tokenRequest, tid, user, resource string) {
	if !q.varied {
		return
	}
	key := fmt.Sprint(q.behavior.VaryLifetimes, " ", q.app.ClientID, " ", tid, " ", user, " ", resourceKey(resource))
	var lifetime int64
	if user == "" {
		lifetime = appOrdinary
		if hash(key)%2 == 1 {
			lifetime = appLong
		}
	} else {
		s.mu.Lock()
		s.answers[key]++
		n := s.answers[key]
		s.mu.Unlock()
		lifetime = userShortest + int64(hash(fmt.Sprint(n, " ", key))%(userLongest-userShortest+1))
	}
	b := &q.behavior
	if b.ExtExpiresIn == b.AccessTokenLifetime {
		b.ExtExpiresIn = time.Duration(lifetime) * time.Second
	}
	b.AccessTokenLifetime = time.Duration(lifetime) * time.Second
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	return h.Sum64() >> 8        // the low bits of FNV-1a follow those of the last byte
}
