package entratest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// The error codes of RFC 6749 section 5.2, as far as Entra ID uses them.
const (
	invalidRequest     = "invalid_request"
	invalidClient      = "invalid_client"
	invalidGrant       = "invalid_grant"
	invalidScope       = "invalid_scope"
	unauthorizedClient = "unauthorized_client"
	unsupportedGrant   = "unsupported_grant_type"
	temporarily        = "temporarily_unavailable"

	interactionRequired = "interaction_required" // OpenID Connect Core section 3.1.2.6
)

const contentJSON = "application/json; charset=utf-8"

// oauthError is a refusal by the protocol.
type oauthError struct {
	code     string
	number   int // of AADSTS
	message  string
	suberror string
	claims   string // that the next sign-in has to carry
}

func errorf(code string, number int, format string, args ...any) *oauthError {
	return &oauthError{code: code, number: number, message: fmt.Sprintf(format, args...)}
}

func missing(parameter string) *oauthError {
	return errorf(invalidRequest, 900144, "The request body must contain the following parameter: '%s'.", parameter)
}

// status follows RFC 6749: 401 for a client that failed to prove itself, 400 for the rest.
func (e *oauthError) status() int {
	if e.code == invalidClient {
		return http.StatusUnauthorized
	}
	return http.StatusBadRequest
}

func (e *oauthError) name() string { return fmt.Sprintf("AADSTS%d", e.number) }

// body writes the error as Entra ID does. The numbers are hints for people; programs go by error, suberror and the
// status (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
func (e *oauthError) body(trace, correlation string) []byte {
	now := time.Now().UTC().Format("2006-01-02 15:04:05Z")
	body, err := json.Marshal(struct {
		Error         string `json:"error"`
		Description   string `json:"error_description"`
		Codes         []int  `json:"error_codes"`
		Timestamp     string `json:"timestamp"`
		TraceID       string `json:"trace_id"`
		CorrelationID string `json:"correlation_id"`
		URI           string `json:"error_uri"`
		Suberror      string `json:"suberror,omitempty"`
		Claims        string `json:"claims,omitempty"`
	}{
		Error: e.code,
		Description: fmt.Sprintf("%s: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			e.name(), e.message, trace, correlation, now),
		Codes:         []int{e.number},
		Timestamp:     now,
		TraceID:       trace,
		CorrelationID: correlation,
		URI:           fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", e.number),
		Suberror:      e.suberror,
		Claims:        e.claims,
	})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return body
}

// ErrorBody is an error answer in Entra ID's shape, for [Fault].Body: for example
// ErrorBody("interaction_required", 50076, "Due to a configuration change ...").
func ErrorBody(oauthError string, aadsts int, message string) string {
	return string(errorf(oauthError, aadsts, "%s", message).body(uuid.NewString(), uuid.NewString()))
}

// ConditionalAccessBody is an [ErrorBody] with what conditional access adds: a suberror, and the claims that the next
// sign-in has to carry. For example ConditionalAccessBody("invalid_grant", 53003, "Access has been blocked ...",
// "message_only", `{"access_token":{"capolids":{"essential":true,"values":["..."]}}}`).
func ConditionalAccessBody(oauthError string, aadsts int, message, suberror, claims string) string {
	oerr := errorf(oauthError, aadsts, "%s", message)
	oerr.suberror, oerr.claims = suberror, claims
	return string(oerr.body(uuid.NewString(), uuid.NewString()))
}

// writeError answers outside the token endpoint.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, e *oauthError) {
	trace, correlation := setHeaders(w, r)
	w.Header().Set("Content-Type", contentJSON)
	w.WriteHeader(e.status())
	_, _ = w.Write(e.body(trace, correlation)) // the client may have left
}

// setHeaders sets what every answer of Entra ID carries, and returns the ids its body repeats.
func setHeaders(w http.ResponseWriter, r *http.Request) (trace, correlation string) {
	trace = uuid.NewString()
	correlation = r.Header.Get("client-request-id")
	if _, err := uuid.Parse(correlation); err != nil {
		correlation = uuid.NewString()
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("x-ms-request-id", trace)
	h.Set("x-ms-ests-server", "2.1.0 - entratest")
	setCookies(h)
	if r.Header.Get("return-client-request-id") == "true" {
		h.Set("client-request-id", correlation)
	}
	return trace, correlation
}

// setCookies sets the three cookies that come with most answers. They are of no use to a client without a browser, and
// none of them may reach another.
func setCookies(h http.Header) {
	const attributes = "; path=/; secure; HttpOnly; SameSite=None"
	expires := time.Now().Add(30 * 24 * time.Hour).UTC().Format("Mon, 02-Jan-2006 15:04:05 GMT")
	h.Add("Set-Cookie", "fpc=A"+random(16)+"; expires="+expires+attributes)
	h.Add("Set-Cookie", "x-ms-gateway-slice=estsfd"+attributes)
	h.Add("Set-Cookie", "stsservicecookie=estsfd"+attributes)
}
