package tokenresp

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// What an answer speaks of: the token endpoint, whose errors are the fleet's, or this process's way to it.
func TestWhoseAnswerItIs(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	const html, text = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	const page, oauth = "<html>Service Unavailable</html>", `{"error":"temporarily_unavailable","error_codes":[90033]}`
	for _, test := range []struct {
		name      string
		answer    *Answer
		own       bool
		passing   bool
		outcome   Outcome
		most, min int64 // seconds of its pause
	}{
		{"an OAuth refusal", said(400, `{"error":"invalid_scope","error_codes":[70011]}`), false, false, Refused, 2, 2},
		{"a bad secret", said(401, `{"error":"invalid_client","error_codes":[7000215]}`), false, false, Refused, 2, 2},
		{"Entra ID's 429 in text", said(429, "Too Many Requests", "Content-Type", text, "Retry-After", "60"), false, true,
			Throttled, 60, 60},
		{"429 in JSON", said(429, oauth, "Retry-After", "60"), false, true, Throttled, 60, 60},
		{"429 for ever", said(429, oauth, "Retry-After", "999999999"), false, true, Throttled, 3600, 3600},
		{"429 until a far date", said(429, oauth, "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), false, true,
			Throttled, 3600, 3600},
		{"503 of the endpoint", said(503, oauth, "Retry-After", "30"), false, true, Throttled, 30, 30},
		{"500 of the endpoint", said(500, oauth), false, true, Failed, 2, 1},
		{"a page of Entra ID's gateways", said(502, page, "Content-Type", html, "X-Ms-Ests-Server", "2.1"), false,
			true, Failed, 2, 1},
		{"a proxy's 503", said(503, page, "Content-Type", html, "Retry-After", "3600"), true, true, Failed, 2, 1},
		{"a proxy's 502", said(502, "bad gateway", "Content-Type", text), true, true, Failed, 2, 1},
		{"a proxy's 407", said(407, page, "Content-Type", html), true, true, Failed, 2, 1},
		{"a proxy's 403", said(403, "", "Content-Type", html), true, true, Failed, 2, 1},
		{"a proxy's 429", said(429, page, "Content-Type", html, "Retry-After", "3600"), true, true, Failed, 2, 1},
		{"a gateway's JSON", said(403, `{"message":"Forbidden"}`), true, true, Failed, 2, 1},
		{"a framework's 503", said(503, `{"status":503,"error":"Service Unavailable","path":"/"}`, "Retry-After", "3600"),
			true, true, Failed, 2, 1},
		{"a mesh's 503", said(503, `{"error":"upstream_unreachable"}`, "Retry-After", "3600"), true, true, Failed, 2, 1},
		{"a gateway's 429", said(429, `{"message":"API rate limit exceeded"}`, "Retry-After", "3600"), true,
			true, Failed, 2, 1},
		{"a page that cannot be read", said(503, "\x1f\x8b", "Content-Encoding", "gzip", "Retry-After", "3600"), true,
			true, Failed, 2, 1},
		{"a framework's 403", said(403, `{"error":"Forbidden"}`), true, true, Failed, 2, 1},
		{"a portal's page", said(200, page, "Content-Type", html), true, true, Failed, 2, 1},
		{"not understood", said(200, `{}`), false, false, Answered, 0, 0},
		{"a redirection", said(307, "", "Location", "/elsewhere"), false, false, Answered, 0, 0},
		{"a loop", said(400, `{"error":"invalid_grant","error_codes":[50196]}`), false, true, Throttled, 2, 1},
		{"a directory that is away", said(400, `{"error":"invalid_request","error_codes":[90033]}`), false,
			true, Failed, 2, 1},
		{"throttling as a 400", said(400, `{"error":"invalid_grant","error_codes":[90055]}`), false, true, Throttled, 2, 1},
		{"throttling as a server's error", said(400, `{"error":"server_error","error_codes":["90055"]}`), false,
			true, Throttled, 2, 1},
		{"a refusal beside it", said(400, `{"error":"invalid_grant","error_codes":[90055,50173]}`), false,
			false, Refused, 2, 2},
		{"a refusal without a number", said(400, `{"error":"invalid_grant","error_codes":[]}`), false, false, Refused, 2, 2},
	} {
		a := test.answer
		a.Received = redistime.Time(now.UnixMicro())
		a.PauseAfter(0, now)
		pause := int64((a.Until - a.Received) / second)
		if a.Own != test.own || a.Passing() != test.passing || a.Outcome(now) != test.outcome || pause < test.min ||
			pause > test.most {
			t.Errorf("%s: own %v, passing %v, outcome %d, a pause of %d s", test.name, a.Own, a.Passing(), a.Outcome(now), pause)
		}
	}
}
