package msalredis

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
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
