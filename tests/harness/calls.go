package harness

import (
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// Parallel runs f n times at once and returns the errors.
func Parallel(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	var out []error
	for _, err := range errs {
		if err != nil {
			Canary.SawError(err)
			out = append(out, err)
		}
	}
	return out
}

// CallResult is what a caller got.
type CallResult struct {
	Token string
	Err   error
}

// StartCalls runs f n times, each in a goroutine of its own.
func StartCalls(n int, f func(i int) (confidential.AuthResult, error)) <-chan CallResult {
	out := make(chan CallResult, n)
	for i := range n {
		go func() {
			r, err := f(i)
			out <- CallResult{r.AccessToken, err}
		}()
	}
	return out
}

// CollectCalls takes n outcomes.
func CollectCalls(t *testing.T, n int, from <-chan CallResult) []CallResult {
	t.Helper()
	var all []CallResult
	deadline := time.After(60 * time.Second)
	for range n {
		select {
		case g := <-from:
			Canary.SawError(g.Err)
			all = append(all, g)
		case <-deadline:
			t.Fatalf("%d of %d callers have come back within 60 s", len(all), n)
		}
	}
	return all
}

// OneToken checks that no caller failed and that all have the same token, and returns it.
func OneToken(t *testing.T, all []CallResult) string {
	t.Helper()
	token := ""
	for _, g := range all {
		switch {
		case g.Err != nil:
			t.Errorf("caller: %v", g.Err)
		case token == "":
			token = g.Token
		case token != g.Token:
			t.Error("callers have different tokens")
		}
	}
	return token
}
