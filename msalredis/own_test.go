package msalredis

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What an answer speaks of: the token endpoint, whose errors are the fleet's, or this process's way to it.
func TestWhoseAnswerItIs(t *testing.T) {
	const html, text = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	const page, oauth = "<html>Service Unavailable</html>", `{"error":"temporarily_unavailable","error_codes":[90033]}`
	for _, test := range []struct {
		name      string
		answer    transport
		own       bool
		passing   bool
		outcome   string
		most, min int64 // seconds of its pause
	}{
		{"an OAuth refusal", says(400, `{"error":"invalid_scope","error_codes":[70011]}`), false, false, outcomeRefused, 2, 2},
		{"a bad secret", says(401, `{"error":"invalid_client","error_codes":[7000215]}`), false, false, outcomeRefused, 2, 2},
		{"Entra ID's 429 in text", says(429, "Too Many Requests", "Content-Type", text, "Retry-After", "60"), false, true, outcomeThrottled, 60, 60},
		{"429 in JSON", says(429, oauth, "Retry-After", "60"), false, true, outcomeThrottled, 60, 60},
		{"429 for ever", says(429, oauth, "Retry-After", "999999999"), false, true, outcomeThrottled, 3600, 3600},
		{"429 until a far date", says(429, oauth, "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), false, true, outcomeThrottled, 3600, 3600},
		{"503 of the endpoint", says(503, oauth, "Retry-After", "30"), false, true, outcomeThrottled, 30, 30},
		{"500 of the endpoint", says(500, oauth), false, true, outcomeFailed, 2, 1},
		{"a page of Entra ID's gateways", says(502, page, "Content-Type", html, "X-Ms-Ests-Server", "2.1"), false, true, outcomeFailed, 2, 1},
		{"a proxy's 503", says(503, page, "Content-Type", html, "Retry-After", "3600"), true, true, outcomeFailed, 2, 1},
		{"a proxy's 502", says(502, "bad gateway", "Content-Type", text), true, true, outcomeFailed, 2, 1},
		{"a proxy's 407", says(407, page, "Content-Type", html), true, true, outcomeFailed, 2, 1},
		{"a proxy's 403", says(403, "", "Content-Type", html), true, true, outcomeFailed, 2, 1},
		{"a proxy's 429", says(429, page, "Content-Type", html, "Retry-After", "3600"), true, true, outcomeFailed, 2, 1},
		{"a gateway's JSON", says(403, `{"message":"Forbidden"}`), true, true, outcomeFailed, 2, 1},
		{"a framework's 503", says(503, `{"status":503,"error":"Service Unavailable","path":"/"}`, "Retry-After", "3600"), true, true, outcomeFailed, 2, 1},
		{"a mesh's 503", says(503, `{"error":"upstream_unreachable"}`, "Retry-After", "3600"), true, true, outcomeFailed, 2, 1},
		{"a gateway's 429", says(429, `{"message":"API rate limit exceeded"}`, "Retry-After", "3600"), true, true, outcomeFailed, 2, 1},
		{"a page that cannot be read", says(503, "\x1f\x8b", "Content-Encoding", "gzip", "Retry-After", "3600"), true, true, outcomeFailed, 2, 1},
		{"a framework's 403", says(403, `{"error":"Forbidden"}`), true, true, outcomeFailed, 2, 1},
		{"a portal's page", says(200, page, "Content-Type", html), true, true, outcomeFailed, 2, 1},
		{"not understood", says(200, `{}`), false, false, outcomeAsked, 0, 0},
		{"a redirection", says(307, "", "Location", "/elsewhere"), false, false, outcomeAsked, 0, 0},
		{"a loop", says(400, `{"error":"invalid_grant","error_codes":[50196]}`), false, true, outcomeThrottled, 2, 1},
		{"a directory that is away", says(400, `{"error":"invalid_request","error_codes":[90033]}`), false, true, outcomeFailed, 2, 1},
		{"throttling as a 400", says(400, `{"error":"invalid_grant","error_codes":[90055]}`), false, true, outcomeThrottled, 2, 1},
		{"throttling as a server's error", says(400, `{"error":"server_error","error_codes":["90055"]}`), false, true, outcomeThrottled, 2, 1},
		{"a refusal beside it", says(400, `{"error":"invalid_grant","error_codes":[90055,50173]}`), false, false, outcomeRefused, 2, 2},
		{"a refusal without a number", says(400, `{"error":"invalid_grant","error_codes":[]}`), false, false, outcomeRefused, 2, 2},
	} {
		req := httptest.NewRequest(http.MethodPost, "https://login.example.com/t/oauth2/v2.0/token", nil)
		resp, _ := test.answer(req)
		a, err := readAnswer(req, resp)
		if err != nil {
			t.Fatal(err)
		}
		a.received = time.Now().UnixMicro()
		a.pauseAfter(0)
		pause := (a.until - a.received) / second
		if a.own != test.own || a.passing() != test.passing || outcomeOf(a) != test.outcome || pause < test.min || pause > test.most {
			t.Errorf("%s: own %v, passing %v, %s, a pause of %d s", test.name, a.own, a.passing(), outcomeOf(a), pause)
		}
	}
}

// An own trouble's pause grows in this process, ends with an answer, and is obeyed without a request.
func TestOwnTroublePausesHereAndGrows(t *testing.T) {
	c := newFuzzCache(t, nil)
	var ahead atomic.Int64 // of the wall clock
	c.clock.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	var requests atomic.Int64
	base := says(503, "<html>")
	gate := c.Transport(transport(func(req *http.Request) (*http.Response, error) {
		requests.Add(1)
		return base(req)
	}))
	for n, want := range []int64{2, 1, 1, 1} { // the first failure is retried, later ones have had their pause
		requests.Store(0)
		for range 3 {
			if status, _, err := ask(t.Context(), gate, appForm("one")); err != nil || status != 503 {
				t.Fatalf("%d %v, want the proxy's answer", status, err)
			}
		}
		if got := requests.Load(); got != want {
			t.Errorf("attempt %d: %d requests, want %d", n+1, got, want)
		}
		ahead.Add(int64(time.Second<<n)*5/4 + int64(10*time.Millisecond))
	}
	base = says(200, goodToken)
	ahead.Add(int64(time.Minute))
	if _, body, err := ask(t.Context(), gate, appForm("one")); err != nil || !strings.Contains(body, `"a"`) {
		t.Errorf("afterwards: %q %v", body, err)
	}
}

// Passing trouble under a refusal's name lets the old token serve.
func TestOldTokenServesWhilePassingTroubleIsCalledARefusal(t *testing.T) {
	for _, body := range []string{
		`{"error":"invalid_grant","error_codes":[50196]}`, `{"error":"invalid_request","error_codes":[90033]}`, `{"error":"server_error","error_codes":[90055]}`,
	} {
		c := newFuzzCache(t, nil)
		base := says(200, `{"access_token":"old","expires_in":120}`)
		gate := c.Transport(transport(func(req *http.Request) (*http.Response, error) { return base(req) }))
		if _, _, err := ask(t.Context(), gate, appForm("one")); err != nil {
			t.Fatal(err)
		}
		base = says(400, body)
		if status, got, err := ask(t.Context(), gate, appForm("one")); err != nil || !strings.Contains(got, `"old"`) {
			t.Errorf("%s: %d %q %v, want the old token", body, status, got, err)
		}
	}
}

// A token is never handed out past its end: not to who comes late to a flight that its holder keeps open, and not as a flight's
// answer that is collected late.
func TestNoTokenPastItsEnd(t *testing.T) {
	c := newFuzzCache(t, nil)
	var ahead atomic.Int64
	c.clock.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	let := make(chan struct{})
	var asked atomic.Int64
	gate := c.Transport(transport(func(req *http.Request) (*http.Response, error) {
		if asked.Add(1) == 1 {
			return says(200, `{"access_token":"old","expires_in":60}`)(req)
		}
		<-let
		return says(200, goodToken)(req)
	}))
	if _, _, err := ask(t.Context(), gate, appForm("one")); err != nil {
		t.Fatal(err)
	}
	if _, body, err := ask(t.Context(), gate, appForm("one")); err != nil || !strings.Contains(body, `"old"`) {
		t.Fatalf("while Entra ID hangs: %q %v, want the old token", body, err)
	}
	ahead.Store(int64(2 * time.Minute)) // the old token is dead, and Entra ID still hangs
	late := make(chan string, 1)
	go func() {
		_, body, err := ask(t.Context(), gate, appForm("one"))
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

// The end that is told is never later than the token's own, and a token at its end is over, at whatever moment.
func TestToldEndIsNotLaterThanTheTokens(t *testing.T) {
	req := httptest.NewRequest(http.MethodPost, "https://login.example.com/t/oauth2/v2.0/token", nil)
	for _, life := range []int64{2, 6, 60, 299, 3600} {
		resp, _ := says(200, `{"access_token":"a","expires_in":`+formatInt(life)+`,"ext_expires_in":`+formatInt(life)+`}`)(req)
		a, err := readAnswer(req, resp)
		if err != nil {
			t.Fatal(err)
		}
		a.started, a.received = 1_000*second, 1_000*second+1
		a.judge()
		for _, us := range []int64{1, second - 1, second, second + 1, 3 * second / 2, life*second - 3*second/2, life*second - second - 1, life*second - second/2, life * second, life*second + 30*second} {
			now := a.started + us
			if us < 0 || a.over(now) {
				continue
			}
			if now >= a.expires {
				t.Errorf("a life of %d s, %d us after: not over", life, us)
				continue
			}
			resp, err := a.response(req, now, true)
			if err != nil {
				t.Fatal(err)
			}
			told := &answer{}
			if told, err = readAnswer(req, resp); err != nil {
				t.Fatal(err)
			}
			// Within a second of its coming an answer passes as it is.
			if end := now + memberNumber(told, "expires_in")*second; us >= second && life < 300 && end > a.expires {
				t.Errorf("a life of %d s, after %d us: its end is told %d us too late", life, us, end-a.expires)
			}
		}
	}
}
