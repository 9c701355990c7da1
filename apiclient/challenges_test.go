package apiclient_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/msal-redis/msal-redis-go/apiclient"
)

// upload is a request whose body cannot be had again.
func upload(t *testing.T) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, resource,
		io.MultiReader(strings.NewReader("payload")))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// Who only uploads streams is refused once, not until the token ends: the request cannot be sent again, but the next
// has the token that the challenge asked for. Of two refused together one asks for it.
func TestChallengeOfAStreamIsForTheNext(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	arrived, goOn := make(chan struct{}), make(chan struct{})
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		sent.Add(1)
		io.Copy(io.Discard, r.Body)
		if r.Header.Get("X-Late") != "" {
			close(arrived)
			<-goOn
		}
		if r.Header.Get("Authorization") == "Bearer token-0" {
			refuse(w, claimsDoc)
		}
	})
	late := make(chan int)
	go func() {
		req := upload(t)
		req.Header.Set("X-Late", "yes")
		resp, err := a.client.Do(req)
		if err != nil {
			t.Error(err)
			close(late)
			return
		}
		resp.Body.Close()
		late <- resp.StatusCode
	}()
	<-arrived
	if status, body := a.send(t, upload(t)); status != 401 || body != "refused" || sent.Load() != 2 {
		t.Errorf("status %d, body %q after %d requests, want the refusal after 2", status, body, sent.Load())
	}
	if n := a.cred.challenged(); n != 1 {
		t.Fatalf("the challenge was answered %d times, want once", n)
	}
	close(goOn)
	if status := <-late; status != 401 {
		t.Errorf("refused together with it: status %d, want 401", status)
	}
	if status, _ := a.send(t, upload(t)); status != 200 || sent.Load() != 3 {
		t.Errorf("the next: status %d after %d requests, want 200 after 3", status, sent.Load())
	}
	if n := a.cred.challenged(); n != 1 {
		t.Errorf("the challenge was answered %d times, want once", n)
	}
}

// restless gives another token each time, as after a renewal elsewhere, and tells in it whether it was asked for with
// claims.
type restless struct{ n, claims atomic.Int64 }

func (c *restless) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	kind := "plain"
	if o.Claims != "" {
		c.claims.Add(1)
		kind = "claims"
	}
	return azcore.AccessToken{Token: fmt.Sprint(kind, "-", c.n.Add(1)), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// A token that is merely another is no answer to a challenge: if it is refused too, the claims are asked for; once,
// whatever comes then.
func TestChallengeIsAnsweredOnceThoughTokensChange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		stream       bool
		accepts      string // tokens of which kind
		throttled    int64  // which request is answered with 429
		sent, status int
		asked        int64 // with claims
	}{
		{name: "accepted with the claims", accepts: "claims", sent: 3, status: 200, asked: 1},
		{name: "never accepted", sent: 3, status: 401, asked: 1},
		{name: "another is accepted", accepts: "plain-2", sent: 2, status: 200},
		{name: "throttled after the answer, and challenged again", throttled: 3, sent: 5, status: 401, asked: 1},
		{name: "a stream", stream: true, accepts: "claims", sent: 1, status: 401, asked: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
				if n := sent.Add(1); n == test.throttled {
					w.WriteHeader(http.StatusTooManyRequests)
				} else if test.accepts == "" || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "+test.accepts) {
					refuse(w, claimsDoc)
				}
			})
			cred := &restless{}
			var err error
			if a.client, err = apiclient.New(resource, cred,
				&apiclient.Options{Transport: a.base, RetryDelay: time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			var status int
			if test.stream {
				status, _ = a.send(t, upload(t))
			} else {
				status, _ = a.do(t, http.MethodPost, resource, "payload")
			}
			if status != test.status || sent.Load() != int64(test.sent) || cred.claims.Load() != test.asked {
				t.Errorf("status %d after %d requests, asked with claims %d times; want %d after %d, %d times",
					status, sent.Load(), cred.claims.Load(), test.status, test.sent, test.asked)
			}
		})
	}
}
