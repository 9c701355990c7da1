package gate

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
)

// Base transports are foreign code, and run in goroutines of ours. Nobody above them recovers, so what they do wrong is
// made an error here.

var (
	errNoResponse = failure.New("the base transport returned neither a response nor an error")
	errNoBody     = failure.New("the base transport returned a response without a body")
	errGone       = failure.New("the goroutine that asked for the token was ended by the code it called")
)

// roundTrip calls a base transport and holds it to its contract: a response with a body, or an error.
func roundTrip(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := base.RoundTrip(req)
	switch {
	case err != nil:
		return nil, err
	case resp == nil:
		return nil, errNoResponse
	case resp.Body == nil:
		return nil, errNoBody
	}
	return resp, nil
}

// exchange sends a request and reads its answer, in a goroutine that may be lost: the base transport may panic, end its
// goroutine, or return when it likes. Who waits has an error then, at the end of the request's context at the latest.
func (g *Gate) exchange(base http.RoundTripper, req *http.Request) (*answers.Answer, error) {
	var a *answers.Answer
	err := errGone // unless the goroutine says otherwise
	done := make(chan struct{})
	if !g.calls.Run(func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				if a == nil {
					err = failure.Panicked("the base transport", v)
				}
				g.o.Log.Warn("the base transport panicked; the process goes on",
					"panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			}
		}()
		resp, failure := roundTrip(base, req)
		if failure != nil {
			err = failure
			return
		}
		defer resp.Body.Close() // last: the answer stands, whatever this does
		read, failure := readAnswer(req, resp)
		a, err = read, failure
	}) {
		return nil, redisop.ErrClosed
	}
	select {
	case <-done:
		return a, err
	case <-req.Context().Done():
	}
	select {
	case <-done:
		return a, err
	default:
		return nil, req.Context().Err()
	}
}

// closeAtMost is how long Close waits for base transports after their contexts have ended.
const closeAtMost = time.Second

// passed is the key of a context's mark that a request has been through the gate of a Cache. A gate below it, of the
// same Cache, would wait for the very request that it is to send.
type passed struct{ g *Gate }

func (g *Gate) pass(ctx context.Context) context.Context {
	return context.WithValue(ctx, passed{g}, true)
}

func (g *Gate) hasPassed(ctx context.Context) bool { return ctx.Value(passed{g}) != nil }
