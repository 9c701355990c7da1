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
		owners := r.OwnersOf(a)
		if _, known := g.o.Tokens.Of(a.Member("access_token")); !known {
			g.o.Tokens.Note(a.Answer, g.cameOf(r, a, owners))
		}
		g.o.Lineages.Follow(a.Member("refresh_token"), r.Next(owners))
		if r.Assertion != "" {
			g.o.OnBehalfOf.Gave(r.Assertion, owners, a.Asked())
		}
	}
}

// cameOf is where an answer's tokens come from that this process has not brought by a refresh token that it knows.
func (g *Gate) cameOf(r *tokenRequest, a *answers.Answer, owners []id) issued.Token {
	from := issued.Token{Session: a.Started, Began: a.Began, Terms: r.Terms, Owners: owners}
	if r.Grant != tokenreq.GrantRefreshToken || r.Assertion != "" {
		return from // of an assertion, by whichever of its refresh tokens
	}
	if sent, ok := g.o.Tokens.Of(r.Form.Get("refresh_token")); ok {
		from.Session, from.Began = sent.Session, sent.Began
		return from
	}
	// It may be of an account's refresh token, which MSAL has used before its Export has told of it: it had it when the
	// request came.
	from.Session, from.Began = min(a.Started, r.begun), 0
	return from
}
