package entratest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Fault is something that goes wrong with token requests. Say one of Status or Body, Hang, Drop, DropAfter, Transform.
type Fault struct {
	// Match chooses the requests. Default: all token requests.
	Match func(Request) bool

	// Times is how many requests it hits. Default: all, until removed.
	Times int

	// Status answers with this status instead of a token. Default: 200 where Body is given.
	Status int

	// Body is the answer's. Default: what Entra ID or the gateway before it sends with Status, see [ErrorBody] for others.
	Body string

	// ContentType of Body. Default: JSON or HTML, by the looks of it. With Transform: JSON.
	ContentType string

	// RetryAfter is sent as given. Default: no such header, but see [Behavior].PlainThrottling.
	RetryAfter string

	// Hang never answers, until the client leaves or the server is closed.
	Hang bool

	// Drop closes the connection without an answer.
	Drop bool

	// After lets the request take effect first: the code is used up, a rotated refresh token is replaced by one that
	// nobody learns. Default: Status, Hang and Drop come in its place.
	After bool

	// DropAfter is Drop and After.
	DropAfter bool

	// Transform changes the body of the successful answer.
	Transform func(body []byte) []byte
}

// fault is a registered Fault with its remaining Times.
type fault struct {
	Fault
	left int
}

// AddFault adds a fault. Of several that match a request the first added is used. remove may be called repeatedly.
func (s *Server) AddFault(f Fault) (remove func()) {
	if f.DropAfter {
		f.Drop, f.After = true, true
	}
	entry := &fault{Fault: f, left: f.Times}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, entry)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(other *fault) bool { return other == entry })
	}
}

// takeFault finds the fault for a request and uses it up. Match runs without the lock, so that it may ask the server; a
// fault that was used up meanwhile does not count.
func (s *Server) takeFault(entry *record) *fault {
	s.mu.Lock()
	faults := slices.Clone(s.faults)
	s.mu.Unlock()
	for _, f := range faults {
		if f.Match != nil && !f.Match(entry.snapshot()) {
			continue
		}
		s.mu.Lock()
		there := slices.Contains(s.faults, f)
		if there && f.Times > 0 {
			f.left--
			if f.left == 0 {
				s.faults = slices.DeleteFunc(s.faults, func(other *fault) bool { return other == f })
			}
		}
		s.mu.Unlock()
		if there {
			return f
		}
	}
	return nil
}

// interrupts reports whether the fault withholds the answer, rather than changing it.
func (f *fault) interrupts() bool { return f.Hang || f.Drop || f.Status != 0 || f.Body != "" }

// insteadOf reports whether the request takes no effect.
func (f *fault) insteadOf() bool { return f.interrupts() && !f.After }

func (s *Server) applyFault(w http.ResponseWriter, r *http.Request, f *fault, entry *record) {
	switch {
	case f.Hang:
		<-r.Context().Done() // Close ends it too
		s.answered(entry, 0, "fault: hang")
		panic(http.ErrAbortHandler) // ends the connection without a byte
	case f.Drop:
		s.answered(entry, 0, "fault: drop")
		panic(http.ErrAbortHandler)
	}
	setHeaders(w, r)
	status, body, content, retryAfter := f.Status, f.Body, f.ContentType, f.RetryAfter
	if status == 0 {
		status = http.StatusOK
	}
	if body == "" && status == http.StatusTooManyRequests && s.Behavior().PlainThrottling {
		body, content, retryAfter = "Too Many Requests", cmp.Or(content, "text/plain"), cmp.Or(retryAfter, "60")
	}
	if body == "" {
		body = defaultBody(status)
	}
	switch {
	case content != "":
	case strings.HasPrefix(body, "{"):
		content = contentJSON
	default:
		content = "text/html; charset=utf-8"
	}
	w.Header().Set("Content-Type", content)
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	s.answered(entry, status, fmt.Sprintf("fault: %d", status))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client may have left
}

// defaultBody is what comes with a status: from Entra ID itself JSON, from the gateways before it HTML.
func defaultBody(status int) string {
	var oerr *oauthError
	switch status {
	case http.StatusOK:
		return "{}"
	case http.StatusUnauthorized, http.StatusForbidden:
		oerr = errorf(invalidClient, 70002, "Error validating credentials.")
	case http.StatusTooManyRequests:
		oerr = errorf(temporarily, 90055, "There are too many incoming requests.")
	case http.StatusInternalServerError, http.StatusServiceUnavailable:
		oerr = errorf(temporarily, 90033, "A transient error has occurred. Please try again.")
	default:
		if status >= 500 {
			return fmt.Sprintf("<html><head><title>%d %s</title></head><body>Our services aren't available right "+
				"now</body></html>", status, http.StatusText(status))
		}
		oerr = errorf(invalidRequest, 9002313, "Invalid request. Request is malformed or invalid.")
	}
	return string(oerr.body(uuid.NewString(), uuid.NewString()))
}

// hook is identified by its address, as functions cannot be compared.
type hook struct{ call func(Request) }

// OnTokenRequest calls hook on the arrival of each token request, in the request's own goroutine, after it was recorded
// and before it takes effect. hook may block: that holds the request, and only it. It must return before [Server.Close]
// can.
func (s *Server) OnTokenRequest(call func(Request)) (remove func()) {
	entry := &hook{call}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, entry)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hooks = slices.DeleteFunc(s.hooks, func(other *hook) bool { return other == entry })
	}
}

func (s *Server) currentHooks() []func(Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]func(Request), len(s.hooks))
	for i, h := range s.hooks {
		calls[i] = h.call
	}
	return calls
}
