package main

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func open(t *testing.T, pause time.Duration) *standin.World {
	t.Helper()
	return openOn(t, pause, redistest.Start(t).URL())
}

func openOn(t *testing.T, pause time.Duration, url string) *standin.World {
	t.Helper()
	e := example
	e.Emulate, e.RedisURL = func(w *standin.World) error { return emulate(w, pause) }, url
	return standin.ForTest(t, e)
}

// All accounts of both environments, a pause kept, and a token request for each environment: also when a second
// instance does the same.
func TestEveryAccountOfEveryEnvironment(t *testing.T) {
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		w := openOn(t, time.Second, url)
		for range 2 {
			var out bytes.Buffer
			if err := run(t.Context(), &out); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{
				"https://contoso.crm4.dynamics.com: accounts: 1200, pages: 3, requests left in this window: ",
				"https://contoso-test.crm4.dynamics.com: accounts: 20, pages: 1, requests left in this window: ",
			} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in the output:\n%s", want, out.String())
				}
			}
		}
		if n := w.Answers(production, http.StatusTooManyRequests); n != 2 {
			t.Errorf("%d requests were answered 429, want one in each instance: none came before its time", n)
		}
		if n := w.Answers(production, http.StatusUnauthorized) + w.Answers(test, http.StatusUnauthorized); n != 0 {
			t.Errorf("%d requests without a token for their environment", n)
		}
		for _, host := range []string{production, test} {
			if n := w.Entra.Count(entratest.ByScope("https://" + host + "/.default")); n != 1 {
				t.Errorf("%d token requests for %s, want 1", n, host)
			}
		}
		if n := w.Entra.Count(); n != 2 {
			t.Errorf("%d token requests, want 2", n)
		}
	})
}

// A pause that the caller's time does not allow is not begun: the caller hears at once what Dataverse says.
func TestAPauseTooLongIsTheCallersToDecide(t *testing.T) {
	open(t, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := run(ctx, new(bytes.Buffer))
	if err == nil || ctx.Err() != nil {
		t.Fatalf("%v; the context's: %v", err, ctx.Err())
	}
	for _, want := range []string{production, "429", `Retry-After: "3600"`, "0x80072322"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s: %v", want, err)
		}
	}
}
