package msalredis

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// The outcomes of a token request of MSAL at the gate, in metrics and spans.
const (
	outcomeAsked     = "asked"     // Entra ID was asked, and gave a token
	outcomeShared    = "shared"    // the fleet had an answer
	outcomeWaited    = "waited"    // another caller or instance brought it meanwhile
	outcomeStale     = "stale"     // a token in the last five minutes of its life: Entra ID gave no new one, or not soon
	outcomeThrottled = "throttled" // Entra ID's 429 or Retry-After, from a request or from the fleet's pause
	outcomeRefused   = "refused"   // Entra ID's refusal, likewise
	outcomeFailed    = "failed"    // Entra ID failed, or was not reached from here; with FailClosed also Redis
	outcomeLeft      = "left"      // the caller's context ended
	outcomeElsewhere = "elsewhere" // a refresh ahead that is another instance's, or may not be yet
)

// outcomeOf is the outcome of a request that was made, or that a pause kept from being made.
func outcomeOf(a *answer) string {
	switch {
	case a.own:
		return outcomeFailed
	case a.err == nil && a.status < 400:
		return outcomeAsked
	case !a.passing():
		return outcomeRefused
	case a.status == http.StatusTooManyRequests || a.retryAfter() > 0 || a.passingCode() == outcomeThrottled:
		return outcomeThrottled
	}
	return outcomeFailed
}

// redirection is where a response sends a request once more, as it is, at the same server: http.Client above follows it. To another
// server it does not follow, with a client's secret.
func redirection(req *http.Request, resp *http.Response) string {
	to := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect || to == "" || len(to) > headerAtMost {
		return ""
	}
	u, err := req.URL.Parse(to)
	if err != nil || u.Scheme != req.URL.Scheme || !strings.EqualFold(u.Host, req.URL.Host) {
		return ""
	}
	return to
}

// fromEndpoint tells whether an answer is the token endpoint's, and not one that a proxy or a portal on the way gives in its place.
// ests: it names a server of Entra ID's token service, which a page of the gateways before it does too. Without that an error is the
// endpoint's if it has OAuth's shape (RFC 6749 section 5.2), or is the 429 that Entra ID sends as text. What is no error is judged by
// what it holds; a page in its place is nobody's token.
func (a *answer) fromEndpoint(ests bool) bool {
	page := bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<"))
	switch {
	case ests:
		return true
	case a.status < 400:
		return a.header["Content-Encoding"] != "" || a.status != http.StatusOK || !page
	case a.header["Content-Encoding"] != "":
		return false // it cannot be told
	case a.status == http.StatusTooManyRequests && !gjson.ValidBytes(a.body):
		kind, _, _ := mime.ParseMediaType(a.header["Content-Type"])
		return !page && kind != "text/html"
	}
	// A proxy's error in JSON has words where OAuth has a code, or a code alone.
	return oauthCode.MatchString(a.member("error")) && (a.status < 500 && a.status != http.StatusTooManyRequests ||
		gjson.GetBytes(a.body, "error_description").Exists() || gjson.GetBytes(a.body, "error_codes").Exists())
}

var oauthCode = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// passing tells whether an outcome without a token is one that passes: Entra ID is down, slow or throttles, or is not reached from here.
func (a *answer) passing() bool {
	if a.err != nil {
		return !errors.Is(a.err, errTooLarge)
	}
	return a.own || a.status == http.StatusTooManyRequests || a.status >= 500 || a.oauthError() == "temporarily_unavailable" || a.passingCode() != ""
}

// passingCodes are the numbers of Entra ID's errors that pass by themselves, whatever the error's name and the status
// (https://learn.microsoft.com/entra/identity-platform/reference-error-codes; that a 50196 is how users' requests are throttled says
// https://learn.microsoft.com/entra/msal/dotnet/advanced/client-and-server-throttling). The numbers may change, so they only make of a
// refusal one that passes, and of nothing a refusal.
var passingCodes = map[int64]string{
	50196: outcomeThrottled, // LoopDetected: too many requests of one client
	90006: outcomeFailed,    // ExternalServerRetryableError: the service is temporarily unavailable
	90012: outcomeFailed,    // RequestTimeout
	90024: outcomeFailed,    // RequestBudgetExceededError: a transient error
	90033: outcomeFailed,    // MsodsServiceUnavailable
	90055: outcomeThrottled, // TenantThrottlingError: too many incoming requests
}

// passingCode is the outcome that an OAuth error's number names; "": it names another than those that pass, or none.
func (a *answer) passingCode() (outcome string) {
	if a.oauthError() == "" {
		return ""
	}
	for _, code := range gjson.GetBytes(a.body, "error_codes").Array() {
		if outcome = passingCodes[number(code)]; outcome == "" {
			return ""
		}
	}
	return outcome
}

// worthRetrying tells whether asking again at once may help: no answer, or a server's error without a pause asked
// for.
func (a *answer) worthRetrying() bool {
	if a.err != nil {
		return a.passing() && !errors.Is(a.err, context.Canceled) && !errors.Is(a.err, io.ErrUnexpectedEOF)
	}
	return a.status >= 500 && a.header["Retry-After"] == ""
}

const (
	refusalPause = 2 * second // a refusal: asking again at once brings the same
	shortPause   = 1 * second // after the first failure that passes; each further one doubles it
	longestPause = 60 * second
	askedPause   = 3600 * second // of the pauses that a server asks for
)

// pauseAfter sets for how long an outcome that brought no token stands, in the fleet or, of an own one, in this process: those who
// wait take it, and those who come next. failures are those that went before.
func (a *answer) pauseAfter(failures int) {
	pause := refusalPause
	switch asked := a.retryAfter(); {
	case !a.passing():
		if a.err == nil && (a.status < 400 || a.header["Content-Encoding"] != "") {
			pause = 0 // not understood, or a redirection: only for those who wait in this process
		}
	case asked > 0:
		pause = min(asked, askedPause)
		a.failures = failures + 1
	default:
		pause = min(shortPause<<min(failures, 16), longestPause)
		pause += rand.Int64N(pause/4 + 1) // instances that share nothing but Entra ID do not come back together
		a.failures = failures + 1
	}
	a.until = a.received + pause
}

// retryAfter is the pause that the server asks for, in microseconds; 0: none (RFC 9110 section 10.2.3).
func (a *answer) retryAfter() int64 {
	if a.own {
		return 0 // how long a proxy is away says nothing of the endpoint
	}
	s := a.header["Retry-After"]
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return max(0, min(n, askedPause/second)) * second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, min(int64(time.Until(t)/time.Microsecond), askedPause))
	}
	return 0
}
