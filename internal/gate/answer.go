package gate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

var errTooLarge = failure.New("the token endpoint's answer is larger than 1 MiB")

// answer is what a token endpoint said, or why there is no answer. nil is none, of which may be asked whether it is
// usable, alive or over.
type answer struct {
	*tokenresp.Answer                // never nil
	err               error          // there was no answer, but this
	by                *transport     // whose base transport brought it; nil: it was read from Redis
	began             time.Duration  // when it was asked for, since the Cache's start; 0: not by this process
	session           redistime.Time // of the refresh token that was sent; 0: it was read from Redis, or none was
}

// asked is when what it belongs to was asked for, by which removals end it: a refresh is of the session of the token
// that was sent.
func (a *answer) asked() redistime.Time {
	if a.session > 0 {
		return min(a.session, a.Started)
	}
	return a.Started
}

// readAnswer makes an answer of a response to req.
func readAnswer(req *http.Request, resp *http.Response) (*answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenresp.AtMost+1))
	if err != nil {
		return nil, err
	}
	if len(body) > tokenresp.AtMost {
		return nil, errTooLarge
	}
	return &answer{Answer: tokenresp.Read(req, resp, body)}, nil
}

// noAnswer is an error in an answer's place. It speaks of this process.
func noAnswer(err error, by *transport, started, received redistime.Time) *answer {
	return &answer{err: err, by: by, Answer: &tokenresp.Answer{
		Own: true, TooLarge: errors.Is(err, errTooLarge), Started: started, Received: received, Stamp: started,
	}}
}

func decodeAnswer(content []byte, stamp redistime.Time) (*answer, error) {
	a, err := tokenresp.Decode(content, stamp)
	if err != nil {
		return nil, err
	}
	return &answer{Answer: a}, nil
}

// encode is the stored form of an answer to a request.
func (a *answer) encode(r *tokenRequest) []byte {
	return a.Encode(layout.AnswerHead{
		Grant: r.Kind.FirstGrant(), Client: r.Client, Tenant: r.tenants[0], Scopes: r.Scopes.String(),
	})
}

// localAnswer is an OAuth error that the gate answers with itself.
func localAnswer(code, description string, now redistime.Time) *answer {
	return &answer{Answer: tokenresp.Local(code, description, now)}
}

// signedOut is the answer to a refresh token whose account has signed out.
func signedOut(now redistime.Time) *answer {
	return localAnswer("invalid_grant", "the account has signed out", now)
}

// Usable tells whether MSAL would take the token at a time of Redis.
func (a *answer) Usable(now redistime.Time) bool { return a != nil && a.Answer.Usable(now) }

// Alive tells whether the token has life left at a time of Redis, if less than MSAL wants.
func (a *answer) Alive(now redistime.Time) bool { return a != nil && a.Answer.Alive(now) }

// Over tells whether a token must not be handed out any more at a time of Redis.
func (a *answer) Over(now redistime.Time) bool { return a != nil && a.Answer.Over(now) }

// Response is the answer for a caller, at a time of Redis.
func (a *answer) Response(req *http.Request, now redistime.Time, soon bool) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	return a.Answer.Response(req, now, soon), nil
}

// WorthRetrying tells whether asking again at once may help: no answer, or a server's error without a pause asked
// for.
func (a *answer) WorthRetrying() bool {
	if a.err != nil {
		return a.Passing() && !errors.Is(a.err, context.Canceled) && !errors.Is(a.err, io.ErrUnexpectedEOF)
	}
	return a.Answer.WorthRetrying()
}
