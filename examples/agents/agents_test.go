package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// Two instances: a request for the blueprint's proof, one for the agent's token and one for the user's.
func TestTwoInstancesThreeTokenRequests(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		e := example
		e.RedisURL = url
		w := standin.ForTest(t, e)
		var out bytes.Buffer
		if err := e.Run(t.Context(), &out, w); err != nil {
			t.Fatal(err)
		}
		// Ends are shown to the second, and told as what is left: they may differ by one.
		said := regexp.MustCompile(`, good until .*`).ReplaceAllString(out.String(), "")
		_, first, _ := strings.Cut(said, "instance 1\n")
		first, second, _ := strings.Cut(first, "instance 2\n")
		if strings.Count(first, "\n") != 3 || first != second {
			t.Errorf("two instances said:\n%s", &out)
		}
		if n := w.Entra.Count(); n != 3 {
			t.Errorf("%d token requests, want 3: %v", n, w.Entra.Requests())
		}
	})
}
