package tokenresp

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// AtMost bounds a token endpoint's answer, in bytes. Real ones have 2 to 10 KB.
const AtMost = 1 << 20

// Answer is what a token endpoint said, or the pause it asked for.
type Answer struct {
	Status   int
	Header   map[string]string
	Body     []byte
	Started  redistime.Time // when its request started
	Received redistime.Time
	Stamp    redistime.Time // orders it among others: that of the look before it, or Started
	// Own: it speaks of this process and its way to the token endpoint, not of the endpoint, and is nobody else's. No
	// answer, or one that somebody else gave in the endpoint's place.
	Own bool
	// TooLarge: it is not there because it was larger than AtMost. The next will be, too.
	TooLarge bool

	// Of a good answer:
	Good    bool           // a token with a life
	Expires redistime.Time // the end of its life
	Due     redistime.Time // when it should be refreshed; 0: never
	// Of a bad one:
	Until    redistime.Time // nobody should ask again before
	Failures int            // how many in a row, this one included, for reasons that pass
	// Of is what was refused. Of a credential: that. Else, of a user's refresh: the refresh token's hash; of others: the
	// grant, for an on-behalf-of token is asked for by two.
	Of string

	latest atomic.Pointer[aged]
}

// Outcome is how a token request ended.
type Outcome int

const (
	// Answered: with a token, or with what is not understood and goes to its caller as it is.
	Answered Outcome = iota + 1
	// Refused: it brings the same again.
	Refused
	// Throttled: by a 429, a Retry-After, or an error that says so.
	Throttled
	// Failed: the endpoint failed, or was not reached from here.
	Failed
)

// keptHeaders are those worth handing on. The rest speaks of a connection that its receiver did not have.
var keptHeaders = []string{"Content-Type", "Content-Encoding", "Retry-After", "X-Ms-Request-Id", "Www-Authenticate"}

// headerAtMost bounds one of them, in bytes.
const headerAtMost = 4 << 10

// Read makes an answer of a response to req, whose body has been read.
func Read(req *http.Request, resp *http.Response, body []byte) *Answer {
	a := &Answer{Status: resp.StatusCode, Body: body, Header: map[string]string{}}
	for _, h := range keptHeaders {
		if v := resp.Header.Get(h); v != "" && len(v) <= headerAtMost {
			a.Header[h] = v
		}
	}
	if to := redirection(req, resp); to != "" {
		a.Header["Location"] = to
	}
	a.Own = !a.fromEndpoint(resp.Header.Get("X-Ms-Ests-Server") != "")
	return a
}

// Local is an OAuth error of our own (RFC 6749 section 5.2), at a time of Redis.
func Local(code, description string, now redistime.Time) *Answer {
	body, _ := json.Marshal(map[string]string{"error": code, "error_description": "msalredis: " + description})
	return &Answer{Status: http.StatusBadRequest, Body: body,
		Header: map[string]string{"Content-Type": "application/json; charset=utf-8"}, Started: now, Received: now}
}

// Encode is the stored form of an answer; whose has the members that say whose request it was.
func (a *Answer) Encode(whose layout.AnswerHead) []byte {
	whose.Status, whose.Header, whose.Started, whose.Received = a.Status, a.Header, a.Started.Micros(), a.Received.Micros()
	whose.Until, whose.Failures, whose.Of = a.Until.Micros(), a.Failures, a.Of
	return layout.EncodeAnswer(whose, a.Body)
}

// Decode is the answer of a stored form, judged.
func Decode(content []byte, stamp redistime.Time) (*Answer, error) {
	h, body, err := layout.DecodeAnswer(content)
	if err != nil {
		return nil, err
	}
	a := &Answer{
		Status: h.Status, Header: h.Header, Body: body, Started: redistime.Time(h.Started),
		Received: redistime.Time(h.Received), Until: redistime.Time(h.Until), Failures: max(h.Failures, 0), Of: h.Of,
		Stamp: stamp,
	}
	a.Judge()
	return a, nil
}
