package gate

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/stage"
)

// An own trouble's pause grows in this process, ends with an answer, and is obeyed without a request.
func TestOwnTroublePausesHereAndGrows(t *testing.T) {
	g := newGate(t)
	var ahead atomic.Int64 // of the wall clock
	g.o.Clock.Wall = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	var requests atomic.Int64
	base := stage.Says(503, "<html>")
	gated := g.Transport(stage.RoundTrip(func(req *http.Request) (*http.Response, error) {
		requests.Add(1)
		return base(req)
	}))
	for n, want := range []int64{2, 1, 1, 1} { // the first failure is retried, later ones have had their pause
		requests.Store(0)
		for range 3 {
			if status, _, err := stage.Ask(t.Context(), gated, stage.AppForm("one")); err != nil || status != 503 {
				t.Fatalf("%d %v, want the proxy's answer", status, err)
			}
		}
		if got := requests.Load(); got != want {
			t.Errorf("attempt %d: %d requests, want %d", n+1, got, want)
		}
		ahead.Add(int64(time.Second<<n)*5/4 + int64(10*time.Millisecond))
	}
	base = stage.Says(200, stage.GoodToken)
	ahead.Add(int64(time.Minute))
	if _, body, err := stage.Ask(t.Context(), gated, stage.AppForm("one")); err != nil || !strings.Contains(body, `"a"`) {
		t.Errorf("afterwards: %q %v", body, err)
	}
}

// Passing trouble under a refusal's name lets the old token serve.
func TestOldTokenServesWhilePassingTroubleIsCalledARefusal(t *testing.T) {
	for _, body := range []string{
		`{"error":"invalid_grant","error_codes":[50196]}`, `{"error":"invalid_request","error_codes":[90033]}`,
		`{"error":"server_error","error_codes":[90055]}`,
	} {
		g := newGate(t)
		base := stage.Says(200, `{"access_token":"old","expires_in":120}`)
		gated := g.Transport(stage.RoundTrip(func(req *http.Request) (*http.Response, error) { return base(req) }))
		if _, _, err := stage.Ask(t.Context(), gated, stage.AppForm("one")); err != nil {
			t.Fatal(err)
		}
		base = stage.Says(400, body)
		status, got, err := stage.Ask(t.Context(), gated, stage.AppForm("one"))
		if err != nil || !strings.Contains(got, `"old"`) {
			t.Errorf("%s: %d %q %v, want the old token", body, status, got, err)
		}
	}
}

// A token is never handed out past its end: not to who comes late to a flight that its holder keeps open, and not as a
// flight's answer that is collected late.
func TestNoTokenPastItsEnd(t *testing.T) {
	g := newGate(t)
	var ahead atomic.Int64
	g.o.Clock.Wall = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	let := make(chan struct{})
	var asked atomic.Int64
	gated := g.Transport(stage.RoundTrip(func(req *http.Request) (*http.Response, error) {
		if asked.Add(1) == 1 {
			return stage.Says(200, `{"access_token":"old","expires_in":60}`)(req)
		}
		<-let
		return stage.Says(200, stage.GoodToken)(req)
	}))
	if _, _, err := stage.Ask(t.Context(), gated, stage.AppForm("one")); err != nil {
		t.Fatal(err)
	}
	_, body, err := stage.Ask(t.Context(), gated, stage.AppForm("one"))
	if err != nil || !strings.Contains(body, `"old"`) {
		t.Fatalf("while Entra ID hangs: %q %v, want the old token", body, err)
	}
	ahead.Store(int64(2 * time.Minute)) // the old token is dead, and Entra ID still hangs
	late := make(chan string, 1)
	go func() {
		_, body, err := stage.Ask(t.Context(), gated, stage.AppForm("one"))
		if err != nil {
			body = err.Error()
		}
		late <- body
	}()
	select {
	case body := <-late:
		t.Errorf("who came late got %q before Entra ID answered", body)
		close(let)
	case <-time.After(100 * time.Millisecond):
		close(let)
		if body := <-late; !strings.Contains(body, `"a"`) {
			t.Errorf("who came late got %q, want the new token", body)
		}
	}
}
