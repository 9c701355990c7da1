package gate

import (
	"errors"
	"io"
	"net/http"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

var errTooLarge = failure.New("the token endpoint's answer is larger than 1 MiB")

// readAnswer makes an answer of a response to req.
func readAnswer(req *http.Request, resp *http.Response) (*answers.Answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenresp.AtMost+1))
	if err != nil {
		return nil, err
	}
	if len(body) > tokenresp.AtMost {
		return nil, errTooLarge
	}
	return &answers.Answer{Answer: tokenresp.Read(req, resp, body)}, nil
}

// noAnswer is an error in an answer's place. It speaks of this process.
func noAnswer(err error, by any, started, received redistime.Time) *answers.Answer {
	return &answers.Answer{Err: err, By: by, Answer: &tokenresp.Answer{
		Own: true, TooLarge: errors.Is(err, errTooLarge), Started: started, Received: received, Stamp: started,
	}}
}

// localAnswer is an OAuth error that the gate answers with itself.
func localAnswer(code, description string, now redistime.Time) *answers.Answer {
	return &answers.Answer{Answer: tokenresp.Local(code, description, now)}
}

// signedOut is the answer to a refresh token whose account has signed out.
func signedOut(now redistime.Time) *answers.Answer {
	return localAnswer("invalid_grant", "the account has signed out", now)
}
