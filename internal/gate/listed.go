package gate

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// answerEnded tells whether a removal has ended an answer to a request for scopes.
func (g *Gate) answerEnded(pids []id, scopes msaldoc.Scopes, a *answer) bool {
	for _, pid := range pids {
		if g.o.Store.Removed(pid).Ends(a.asked(), func() string { return layout.HashScopes(scopes) }) {
			return true
		}
	}
	return false
}

// belongs notes that an answer is of partitions, so that it goes when one of them is removed. false: one was removed
// after it was asked for, and it must not be kept.
func (g *Gate) belongs(
	ctx context.Context, pids []id, rid id, s msaldoc.Scopes, asked redistime.Time, life time.Duration,
) (bool, error) {
	for _, pid := range pids {
		member := layout.Member{Kind: layout.MemberAnswer, Scopes: layout.MemberScopes(s), ID: rid}
		if ok, err := g.o.Store.List(ctx, pid, member, life.Milliseconds(), asked); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// listNames lists an app's partitions of all names of its tenant with one another: MSAL keeps an app's tokens under the
// name that its client was given, ForgetAppTokens names one, and the answer came from Entra ID or from a client of
// another. An error leaves the names to the next answer.
func (g *Gate) listNames(ctx context.Context, r *tokenRequest, life time.Duration) {
	if r.Kind != tokenreq.App {
		return
	}
	var all errgroup.Group
	all.SetLimit(listsAtOnce)
	list := func(of, pid id) {
		member := layout.Member{Kind: layout.MemberPartition, Scopes: layout.MemberScopes(r.Scopes), ID: pid}
		all.Go(func() error {
			_, err := g.o.Store.List(ctx, of, member, max(life.Milliseconds(), 1000), layout.MaxStamp)
			return err
		})
	}
	for _, pid := range r.pids[1:] {
		list(r.pids[0], pid)
		list(pid, r.pids[0])
	}
	_ = all.Wait()
}

// listsAtOnce bounds how much of the pool the names of one tenant take.
const listsAtOnce = 4
