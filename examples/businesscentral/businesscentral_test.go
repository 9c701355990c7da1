package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// Every customer of every company, in pages, through a 429 that does not say when to come again; never more than five
// requests at once, and one token request, also when a second instance does the same.
func TestEveryCompanyOfEveryEnvironment(t *testing.T) {
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		bc := &emulated{limit: standin.Limit{Requests: 10, Pause: 500 * time.Millisecond}}
		e := example
		e.Emulate, e.RedisURL = bc.serve, url
		w := standin.ForTest(t, e)
		var first string
		for range 2 {
			var out bytes.Buffer
			if err := run(t.Context(), &out); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{
				"Production (Production), CRONUS DE: 100 customers\n",
				"Production (Production), CRONUS US: 700 customers\n",
				"UAT (Sandbox), CRONUS FR: 200 customers\n",
			} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in the output:\n%s", want, out.String())
				}
			}
			if first == "" {
				first = out.String()
				bc.limit.Requests = 1000 // one pause will do
			} else if out.String() != first {
				t.Errorf("the second instance found something else:\n%s", out.String())
			}
		}
		if strings.Count(first, "\n") != 9 {
			t.Errorf("%d companies, want 9", strings.Count(first, "\n"))
		}
		if w.Answers(host, http.StatusTooManyRequests) == 0 {
			t.Error("no request was answered 429")
		}
		if n := w.Answers(host, http.StatusOK); n != 2*17 {
			t.Errorf("%d requests were answered, want 17 in each instance", n)
		}
		if n := bc.most.Load(); n > 5 {
			t.Errorf("%d requests at once, want five at most", n)
		}
		if n := w.Entra.Count(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}
