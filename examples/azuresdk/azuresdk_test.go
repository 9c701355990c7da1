package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func TestMain(m *testing.M) { standin.TestMain(m, example, main) }

// Two processes with two credentials each read the secret, and of all only one asks Entra ID.
func TestTwoProcessesOneTokenRequest(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		e, v := example, &vault{}
		e.RedisURL, e.Emulate = url, v.serve
		w := standin.ForTest(t, e)
		var out bytes.Buffer
		if err := e.Run(t.Context(), &out, w); err != nil {
			t.Fatal(err)
		}
		for _, by := range []string{"azidentity over the gate", "azcred over the cache"} {
			if strings.Count(out.String(), by+": secret database-password has 19 characters") != 2 {
				t.Errorf("not both processes have read by %s:\n%s", by, out.String())
			}
		}
		if n := w.Entra.Count(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
		if n := v.reads.Load(); n != 4 {
			t.Errorf("the vault was read %d times with a token, want 4", n)
		}
	})
}
