package gate

import (
	"cmp"
	"context"
	"maps"
	"net/url"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// answerSource is the source of answers that serve everyone of an identity: an app's, an on-behalf-of request's.
type answerSource struct {
	g       *Gate
	r       *tokenRequest
	arrived redistime.Time // see [recordSource]
	last    *answers.Answer
	sent    issued.Token // what is known of the refresh token that was sent
	isKnown bool         // something is
}

func (s *answerSource) lease() id { return s.r.ID }

func (s *answerSource) look(ctx context.Context) (f finding, err error) {
	found, now, err := s.g.answers.Look(ctx, &s.r.Request)
	s.arrived = cmp.Or(s.arrived, now)
	if err == nil {
		f.at = now
	}
	if s.last = found.Answer; s.last != nil {
		f.stamp = s.last.Stamp
	}
	policy := s.r.Kind.Policy()
	switch a := found.Answer; {
	case !a.Alive(now):
	case s.r.Challenge != "" && a.Received < s.arrived:
		// Older than the challenge.
	case policy.Handover > 0 && now.Sub(a.Received) > policy.Handover:
	case a.Usable(now) || a.Received >= s.arrived:
		f.answer, f.due = a, a.IsDue(now)
	case policy.OldServes:
		f.old = a
	}
	// A refresh token that was refused says nothing of the assertion with which MSAL goes on.
	f.pauseBy(s.r, found.Pause, now, func(p *answers.Answer) bool {
		return p.Of == s.r.Grant && (s.r.Challenge == "" || p.Received >= s.arrived)
	})
	return f, err
}

// form is the request as it came, but for the refresh token of an on-behalf-of answer: the last answer's is newer than
// what MSAL's memory may hold.
func (s *answerSource) form() (url.Values, *answers.Answer) {
	form := s.r.Form
	if s.r.Kind.Policy().SendsNewest && s.last != nil && s.last.Member("refresh_token") != "" {
		form = maps.Clone(form)
		form.Set("refresh_token", s.last.Member("refresh_token"))
	}
	if s.sent, s.isKnown = s.g.o.Tokens.Of(form.Get("refresh_token")); s.g.o.Tokens.Ended(s.sent) {
		return nil, signedOut(s.g.o.Clock.Now())
	}
	return form, nil
}

func (s *answerSource) moved(context.Context, url.Values) bool { return false }

func (s *answerSource) keep(ctx context.Context, a *answers.Answer) {
	a.Of = s.r.Grant
	if s.isKnown {
		a.Session = min(s.g.o.Tokens.Session(s.sent), a.Started) // where one of Redis's clocks is ahead, that is too late
		if a.Good {
			from := s.sent
			from.Terms, from.Owners = s.r.Terms, s.r.OwnersOf(a)
			s.g.o.Tokens.Note(a.Answer, from)
		}
	}
	if a.CredentialRefused() {
		a.Of = s.r.Credential.Exact
	}
	s.g.answers.Keep(ctx, &s.r.Request, s.r.ID, a)
	switch {
	case s.r.Challenge == "" || !a.Good:
	case s.r.Newer:
		// What others would get without the challenge has been refused by a resource.
		s.g.answers.Keep(ctx, &s.r.Request, s.r.Base, a)
	default:
		// That too, perhaps. But they do not get this token either: it may be one of WithClaimsFromClient, whose bytes are
		// those of a challenge, and which MSAL keeps apart.
		s.g.answers.Remove(ctx, s.r.Base)
	}
}
