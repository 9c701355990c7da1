package answers

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// Answer is what a token endpoint said, or why there is no answer. nil is none, of which may be asked whether it is
// usable, alive or over.
type Answer struct {
	*tokenresp.Answer                // never nil
	Err               error          // there was no answer, but this
	By                any            // whose base transport brought it, see [Request.By]; nil: it was read from Redis
	Began             time.Duration  // when it was asked for, since the Cache's start; 0: not by this process
	Session           redistime.Time // of the refresh token that it comes of; 0: of none, or not known here
}

// Asked is when what it belongs to was asked for, by which removals end it: a refresh is of the session of the token
// that was sent.
func (a *Answer) Asked() redistime.Time {
	return cmp.Or(a.Session, a.Started)
}

func decode(content []byte, stamp redistime.Time) (*Answer, error) {
	a, err := tokenresp.Decode(content, stamp)
	if err != nil {
		return nil, err
	}
	return &Answer{Answer: a}, nil
}

// encode is the stored form of an answer to a request.
func (a *Answer) encode(r *Request) []byte {
	return a.Encode(layout.AnswerHead{
		Grant: r.Kind.FirstGrant(), Client: r.Client, Tenant: r.Tenants[0], Scopes: r.Scopes.String(),
	})
}

// Usable tells whether MSAL would take the token at a time of Redis.
func (a *Answer) Usable(now redistime.Time) bool { return a != nil && a.Answer.Usable(now) }

// Alive tells whether the token has life left at a time of Redis, if less than MSAL wants.
func (a *Answer) Alive(now redistime.Time) bool { return a != nil && a.Answer.Alive(now) }

// Over tells whether a token must not be handed out any more at a time of Redis.
func (a *Answer) Over(now redistime.Time) bool { return a != nil && a.Answer.Over(now) }

// Response is the answer for a caller, at a time of Redis.
func (a *Answer) Response(req *http.Request, now redistime.Time, due bool) (*http.Response, error) {
	if a.Err != nil {
		return nil, a.Err
	}
	return a.Answer.Response(req, now, due), nil
}

// WorthRetrying tells whether asking again at once may help: no answer, or a server's error without a pause asked
// for.
func (a *Answer) WorthRetrying() bool {
	if a.Err != nil {
		return a.Passing() && !errors.Is(a.Err, context.Canceled) && !errors.Is(a.Err, io.ErrUnexpectedEOF)
	}
	return a.Answer.WorthRetrying()
}
