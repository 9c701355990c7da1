package tokenresp

import (
	"bytes"
	"math/rand/v2"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Outcome is how the request of an answer ended, or of a pause that kept it from being made. now is this machine's
// time, by which a server may name a date.
func (a *Answer) Outcome(now time.Time) Outcome {
	switch {
	case a.Own:
		return Failed
	case a.Status < 400:
		return Answered
	case !a.Passing():
		return Refused
	case a.Status == http.StatusTooManyRequests || a.retryAfter(now) > 0 || a.passingCode() == Throttled:
		return Throttled
	}
	return Failed
}

// redirection is where a response sends a request once more, as it is, at the same server: http.Client above follows
// it. To another server it does not follow, with a client's secret.
func redirection(req *http.Request, resp *http.Response) string {
	to := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect || to == "" ||
		len(to) > headerAtMost {
		return ""
	}
	u, err := req.URL.Parse(to)
	if err != nil || u.Scheme != req.URL.Scheme || !strings.EqualFold(u.Host, req.URL.Host) {
		return ""
	}
	return to
}

// fromEndpoint tells whether an answer is the token endpoint's, and not one that a proxy or a portal on the way gives
// in its place. ests: it names a server of Entra ID's token service, which a page of the gateways before it does too.
// Without that an error is the endpoint's if it has OAuth's shape (RFC 6749 section 5.2), or is the 429 that Entra ID
// sends as text. What is no error is judged by what it holds; a page in its place is nobody's token.
func (a *Answer) fromEndpoint(ests bool) bool {
	page := bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("<"))
	switch {
	case ests:
		return true
	case a.Status < 400:
		return a.Header["Content-Encoding"] != "" || a.Status != http.StatusOK || !page
	case a.Header["Content-Encoding"] != "":
		return false // it cannot be told
	case a.Status == http.StatusTooManyRequests && !gjson.ValidBytes(a.Body):
		kind, _, _ := mime.ParseMediaType(a.Header["Content-Type"])
		return !page && kind != "text/html"
	}
	// A proxy's error in JSON has words where OAuth has a code, or a code alone.
	return oauthCode.MatchString(a.Member("error")) && (a.Status < 500 && a.Status != http.StatusTooManyRequests ||
		gjson.GetBytes(a.Body, "error_description").Exists() || gjson.GetBytes(a.Body, "error_codes").Exists())
}

var oauthCode = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Passing tells whether an outcome without a token is one that passes: Entra ID is down, slow or throttles, or is not
// reached from here.
func (a *Answer) Passing() bool {
	return !a.TooLarge && (a.Own || a.Status == http.StatusTooManyRequests || a.Status >= 500 ||
		a.OAuthError() == "temporarily_unavailable" || a.passingCode() != 0)
}

// passingCodes are the numbers of Entra ID's errors that pass by themselves, whatever the error's name and the status
// (https://learn.microsoft.com/entra/identity-platform/reference-error-codes; that a 50196 is how users' requests are
// throttled says https://learn.microsoft.com/entra/msal/dotnet/advanced/client-and-server-throttling). The numbers may
// change, so they only make of a refusal one that passes, and of nothing a refusal.
var passingCodes = map[int64]Outcome{
	50196: Throttled, // LoopDetected: too many requests of one client
	90006: Failed,    // ExternalServerRetryableError: the service is temporarily unavailable
	90012: Failed,    // RequestTimeout
	90024: Failed,    // RequestBudgetExceededError: a transient error
	90033: Failed,    // MsodsServiceUnavailable
	90055: Throttled, // TenantThrottlingError: too many incoming requests
}

// passingCode is the outcome that an OAuth error's number names; 0: it names another than those that pass, or none.
func (a *Answer) passingCode() (outcome Outcome) {
	if a.OAuthError() == "" {
		return 0
	}
	for _, code := range gjson.GetBytes(a.Body, "error_codes").Array() {
		if outcome = passingCodes[number(code)]; outcome == 0 {
			return 0
		}
	}
	return outcome
}

// WorthRetrying tells of an answer whether asking again at once may help: a server's error without a pause asked for.
func (a *Answer) WorthRetrying() bool { return a.Status >= 500 && a.Header["Retry-After"] == "" }

const (
	refusalPause = 2 * time.Second // a refusal: asking again at once brings the same
	shortPause   = 1 * time.Second // after the first failure that passes; each further one doubles it
	longestPause = 60 * time.Second
	askedPause   = time.Hour        // of the pauses that a server asks for
	failuresLife = 60 * time.Second // failures count as being in a row for so long
)

// PauseAfter sets for how long an outcome that brought no token stands, in the fleet or, of an own one, in this
// process: those who wait take it, and those who come next. failures are those that went before; now is this machine's
// time, by which a server may name a date.
func (a *Answer) PauseAfter(failures int, now time.Time) {
	pause := refusalPause
	switch asked := a.retryAfter(now); {
	case !a.Passing():
		if !a.TooLarge && (a.Status < 400 || a.Header["Content-Encoding"] != "") {
			pause = 0 // not understood, or a redirection: only for those who wait in this process
		}
	case asked > 0:
		pause = min(asked, askedPause)
		a.Failures = failures + 1
	default:
		pause = min(shortPause<<min(failures, 16), longestPause)
		pause += rand.N(pause/4 + 1) // instances that share nothing but Entra ID do not come back together
		a.Failures = failures + 1
	}
	a.Until = a.Received.Add(pause)
}

// retryAfter is the pause that the server asks for; 0: none (RFC 9110 section 10.2.3).
func (a *Answer) retryAfter(now time.Time) time.Duration {
	if a.Own {
		return 0 // how long a proxy is away says nothing of the endpoint
	}
	s := a.Header["Retry-After"]
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Duration(max(0, min(n, wholeSeconds(askedPause)))) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, min(t.Sub(now), askedPause))
	}
	return 0
}

// CountsUntil is until when a bad answer is remembered: for longer than its pause, so that the next failure, if it
// comes soon, makes the pause grow.
func (a *Answer) CountsUntil() redistime.Time {
	if a.Failures > 0 {
		return a.Until.Add(a.Until.Sub(a.Received) + failuresLife)
	}
	return a.Until
}

// CredentialRefused tells whether an answer refuses the client's credential, rather than what it asks for
// (RFC 6749 section 5.2; AADSTS7000xx: https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
func (a *Answer) CredentialRefused() bool {
	switch a.OAuthError() {
	case "invalid_client", "unauthorized_client":
		return true
	case "invalid_request": // AADSTS7000218: there is none
	default: // AADSTS700082, an invalid_grant, is of a refresh token
		return false
	}
	for _, code := range gjson.GetBytes(a.Body, "error_codes").Array() {
		if strings.HasPrefix(code.Raw, "7000") && len(code.Raw) > len("7000") {
			return true
		}
	}
	return false
}
