package gate

import (
	"context"

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

// belongs notes that an answer is of partitions, so that it goes when one of them is removed. false: one was removed after it was
// asked for, and it must not be kept.
func (g *Gate) belongs(ctx context.Context, pids []id, rid id, s msaldoc.Scopes, asked redistime.Time, life int64) (bool, error) {
	for _, pid := range pids {
		member := layout.Member{Kind: layout.MemberAnswer, Scopes: layout.MemberScopes(s), ID: rid}
		if ok, err := g.o.Store.List(ctx, pid, member, life, asked); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// listNames lists an app's partitions of all names of its tenant with one another: MSAL keeps an app's tokens under the
// name that its client was given, ForgetAppTokens names one, and the answer came from Entra ID or from a client of another.
// An error leaves the names to the next answer.
func (g *Gate) listNames(ctx context.Context, r *tokenRequest, a *answer) {
	if r.Kind != tokenreq.App {
		return
	}
	life := max((a.Expires-g.o.Clock.Now().Micros())/1000, 1000)
	member := func(pid id) layout.Member {
		return layout.Member{Kind: layout.MemberPartition, Scopes: layout.MemberScopes(r.Scopes), ID: pid}
	}
	for _, pid := range r.pids[1:] {
		_, err := g.o.Store.List(ctx, r.pids[0], member(pid), life, layout.MaxStamp)
		if err == nil {
			_, err = g.o.Store.List(ctx, pid, member(r.pids[0]), life, layout.MaxStamp)
		}
		if err != nil {
			return
		}
	}
}
