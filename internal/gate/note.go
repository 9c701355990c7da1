package gate

import (
	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// noteAnswer remembers where an answer's tokens come from, before its callers have it and MSAL stores them.
func (g *Gate) noteAnswer(r *tokenRequest, a *answers.Answer) {
	if r.inRecord() {
		return // the flight has, with the session of the token that it sent
	}
	switch asked := a.Started; r.Kind {
	case tokenreq.App:
		for _, partition := range r.Partitions {
			if p := g.o.Store.Peek(partition); p != nil { // MSAL has asked for the one that it will write
				p.ExpectWrite(g.elapsed())
			}
		}
		g.o.Tokens.Note(a.Answer, issued.Token{Session: asked, Began: a.Began, Terms: r.Terms})
	case tokenreq.UserFIC:
		g.o.Tokens.Note(a.Answer, issued.Token{Session: asked, Began: a.Began, Terms: r.Terms, Owners: a.Owners()})
	default:
		if r.Grant == tokenreq.GrantRefreshToken {
			// It may be of an account's refresh token, which MSAL has used before its Export has told of it: it had it when the
			// request came.
			session := min(asked, r.begun)
			if sent, ok := g.o.Tokens.Of(r.Form.Get("refresh_token")); ok {
				session = g.o.Tokens.Session(sent)
			}
			g.o.Tokens.Note(a.Answer, issued.Token{Session: session, Terms: r.Terms, Owners: a.Owners()})
		}
		owners := r.OwnersOf(a)
		g.o.Lineages.Follow(a.Member("refresh_token"), r.Next(owners))
		if r.Assertion != "" {
			g.o.OnBehalfOf.Gave(r.Assertion, owners, a.Started)
		}
	}
}
