package msalredis

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// An answer that was taken in while its app's tokens were forgotten does not serve, also where Redis is away.
func TestAnswerOfBeforeARemovalDoesNotServeWhileRedisIsAway(t *testing.T) {
	c := newFuzzCache(t, nil)
	var requests atomic.Int64
	base := says(200, goodToken)
	gate := c.Transport(transport(func(req *http.Request) (*http.Response, error) {
		requests.Add(1)
		return base(req)
	}))
	for n, want := range []int64{1, 1, 2} {
		if n == 2 {
			c.store.BeginRemoval(c.record(msaldoc.AppKey("c", "t", "")), nil) // the answers were gone through before
		}
		if status, _, err := ask(t.Context(), gate, appForm("one")); err != nil || status != 200 {
			t.Fatal(status, err)
		}
		if got := requests.Load(); got != want {
			t.Errorf("call %d: %d requests, want %d", n+1, got, want)
		}
	}
}

// The answer to a refresh that began after a sign-out, with a refresh token of before it, has ended with that token: one of a special
// request is in no record, and would serve the fleet.
func TestAnswerToARefreshEndsWithTheTokenThatWasSent(t *testing.T) {
	c := newFuzzCache(t, nil)
	p := c.record("uid.utid")
	form := tokenreq.Request{Lineage: tokenreq.Lineage{Account: "uid.utid"}}
	o := &owned{leader: &leader{c: c, r: &tokenRequest{Request: form, pids: []id{p.ID}, realms: []string{"t"}}}, p: p}
	o.session = c.store.Asked(c.clock.Now())
	removed := c.store.BeginRemoval(p, nil).Removed()
	started := removed.Whole.Add(time.Second).Micros()
	a := &answer{Answer: &tokenresp.Answer{Status: 200, Body: []byte(goodToken), Started: started, Received: started, Stamp: started}}
	a.Judge()
	o.keep(t.Context(), a)
	if !c.answerEnded([]id{p.ID}, nil, a) {
		t.Error("it is kept")
	}
}
