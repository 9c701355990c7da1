package answers

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// list notes that an answer is of its partitions, so that it goes when one of them is removed. false: one was removed
// after it was asked for, and it must not be kept.
func (w *write) list(ctx context.Context, life time.Duration) (bool, error) {
	member := layout.Member{Kind: layout.MemberAnswer, Scopes: layout.MemberScopes(w.r.Scopes), ID: w.identity}
	for _, partition := range w.partitions {
		ok, err := w.o.Store.List(ctx, partition, member, life.Milliseconds(), w.a.Asked())
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// ListNames lists an app's partitions of all names of its tenant with one another: MSAL keeps an app's tokens under the
// name that its client was given, ForgetAppTokens names one, and the answer came from Entra ID or from a client of
// another. An error leaves the names to the next answer, which is looked for in Redis then.
func (s *Shared) ListNames(ctx context.Context, r *Request, life time.Duration) {
	if r.Kind != tokenreq.App {
		return
	}
	var all errgroup.Group
	all.SetLimit(listsAtOnce)
	list := func(of, partition layout.ID) {
		member := layout.Member{
			Kind: layout.MemberPartition, Scopes: layout.MemberScopes(r.Scopes), ID: partition,
		}
		all.Go(func() error {
			_, err := s.o.Store.List(ctx, of, member, max(life.Milliseconds(), 1000), layout.MaxStamp)
			return err
		})
	}
	for _, partition := range r.Partitions[1:] {
		list(r.Partitions[0], partition)
		list(partition, r.Partitions[0])
	}
	names := r.Partitions
	if all.Wait() != nil {
		names = nil
	}
	s.memory.list(r.Base, names)
}

// listsAtOnce bounds how much of the pool the names of one tenant take.
const listsAtOnce = 4
