package main

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func TestMain(m *testing.M) { standin.TestMain(m, example, main) }

// Two processes at once have the same token, which cost one request.
func TestTwoProcessesShareOneToken(t *testing.T) {
	t.Parallel()
	said := regexp.MustCompile(`^process 1\ntoken ([0-9a-f]{12}), good until \d\d:\d\d:\d\d\n` +
		`process 2\ntoken ([0-9a-f]{12}), good until \d\d:\d\d:\d\d\n$`)
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		e := example
		e.RedisURL = url
		w := standin.ForTest(t, e)
		var out bytes.Buffer
		if err := e.Run(t.Context(), &out, w); err != nil {
			t.Fatal(err)
		}
		if m := said.FindStringSubmatch(out.String()); m == nil || m[1] != m[2] {
			t.Errorf("two processes said:\n%s", &out)
		}
		if n := w.Entra.Count(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}
