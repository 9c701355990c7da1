package entratest

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Request is the record of one token request.
type Request struct {
	ID       int    `json:"id"` // in order of arrival, from 1; not reused after ResetRequests
	Grant    string `json:"grant"`
	ClientID string `json:"client_id"`
	Host     string `json:"host"`   // the name of Entra ID that was asked, as in login.microsoftonline.com
	Tenant   string `json:"tenant"` // as in the path: from MSAL the GUID, since discovery names endpoints by it

	// Scope is normalised: lower-case, sorted, each once, without openid, profile and offline_access. RawScope is as sent.
	Scope    string `json:"scope"`
	RawScope string `json:"raw_scope"`

	// User is the home account ID, where the request names a user or succeeded for one.
	User   string `json:"user,omitempty"`
	Claims string `json:"claims,omitempty"` // as sent

	// RefreshTokenGeneration is that of the refresh token sent: 1 from a sign-in, one more with
	// each redemption in between. 0 for other grants and for unknown tokens.
	RefreshTokenGeneration int `json:"refresh_token_generation,omitempty"`

	// Session is the sign-in from which that refresh token descends: the sid of the tokens that it brings.
	Session string `json:"session,omitempty"`

	Arrived  time.Time `json:"arrived"`
	Answered time.Time `json:"answered,omitzero"` // zero: still under way

	// Status is 0 while under way, and where no answer was sent.
	Status int `json:"status"`

	// Error is the AADSTS number of a refusal, as in AADSTS7000215; "fault: ..." or "client left" where there was none.
	Error string `json:"error,omitempty"`

	// Form is what was sent, secrets included: not for logs. Read only.
	Form url.Values `json:"-"`
}

// record is a Request in the making.
type record struct {
	mu sync.Mutex // after Server.mu, where both are held
	Request
	// begin and end are ticks of one counter. Clocks tell too little: two events may share an instant.
	begin, end uint64 // end 0: under way
}

func (r *record) snapshot() Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Request
}

func (r *record) setUser(homeAccountID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if homeAccountID != "" {
		r.User = homeAccountID
	}
}

// recorder is guarded by Server.mu.
type recorder struct {
	tick     uint64
	lastID   int
	requests []*record
	other    map[string]int
}

// arrived records a token request before anything happens to it.
func (s *Server) arrived(q *tokenRequest) *record {
	user, rt := s.identify(q)
	entry := &record{Request: Request{
		Grant:                  q.grant,
		ClientID:               q.form.Get("client_id"),
		Host:                   q.host,
		Tenant:                 q.tenant,
		Scope:                  normalizeScope(q.form.Get("scope")),
		RawScope:               q.form.Get("scope"),
		User:                   user,
		Claims:                 q.form.Get("claims"),
		RefreshTokenGeneration: rt.generation,
		Session:                rt.session,
		Form:                   q.form,
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range []string{"client_secret", "client_assertion", "assertion", "refresh_token", "code",
		"code_verifier", "device_code", "password", "user_federated_identity_credential"} {
		s.secrets.add(q.form.Get(p))
	}
	s.recorder.lastID++
	s.recorder.tick++
	entry.ID, entry.begin, entry.Arrived = s.recorder.lastID, s.recorder.tick, time.Now()
	s.recorder.requests = append(s.recorder.requests, entry)
	return entry
}

func (s *Server) answered(entry *record, status int, name string) {
	s.mu.Lock()
	s.recorder.tick++
	tick := s.recorder.tick
	entry.mu.Lock()
	entry.end, entry.Answered, entry.Status, entry.Error = tick, time.Now(), status, name
	done := entry.Request
	entry.mu.Unlock()
	s.mu.Unlock()
	s.log.Debug("entratest: token request", "id", done.ID, "grant", done.Grant, "client", done.ClientID,
		"tenant", done.Tenant, "status", status, "error", name)
}

// identify finds the user a request is about before it is checked, so that hooks and faults can go by user.
func (s *Server) identify(q *tokenRequest) (homeAccountID string, rt refreshToken) {
	byName := func(name string) string {
		if u, _, err := s.signIn(name); err == nil {
			return u.HomeAccountID()
		}
		return ""
	}
	switch q.grant {
	case "refresh_token":
		s.mu.Lock()
		defer s.mu.Unlock()
		if rt, ok := s.refresh[q.form.Get("refresh_token")]; ok {
			return rt.user.HomeAccountID(), *rt
		}
	case "authorization_code":
		s.mu.Lock()
		defer s.mu.Unlock()
		if c, ok := s.codes[q.form.Get("code")]; ok {
			return c.user.HomeAccountID(), refreshToken{}
		}
	case "password":
		return byName(q.form.Get("username")), refreshToken{}
	case "user_fic":
		return byName(cmp.Or(q.form.Get("user_id"), q.form.Get("username"))), refreshToken{}
	case jwtBearer:
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(q.form.Get("assertion"), claims); err == nil {
			if u, _, ok := s.userIn(text(claims, "tid"), text(claims, "oid")); ok {
				return u.HomeAccountID(), refreshToken{}
			}
		}
	}
	return "", refreshToken{}
}

// counted counts requests that are not for tokens.
func (s *Server) counted(kind string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.recorder.other == nil {
			s.recorder.other = map[string]int{}
		}
		s.recorder.other[kind]++
		s.mu.Unlock()
		next(w, r)
	}
}

// OtherRequests counts the requests that were not for tokens, by kind: instance (discovery), openid-configuration,
// jwks, authorize, devicecode, userrealm, other.
func (s *Server) OtherRequests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := maps.Clone(s.recorder.other)
	if out == nil {
		out = map[string]int{}
	}
	return out
}

// Requests returns the token requests since the last [Server.ResetRequests] in order of arrival, those under way
// included.
func (s *Server) Requests() []Request {
	records := s.records()
	out := make([]Request, len(records))
	for i, r := range records {
		out[i] = r.snapshot()
	}
	return out
}

func (s *Server) records() []*record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.recorder.requests)
}

// Count counts the token requests that every match accepts.
func (s *Server) Count(match ...func(Request) bool) int {
	n := 0
	for _, r := range s.records() {
		if matches(r.snapshot(), match) {
			n++
		}
	}
	return n
}

func matches(r Request, match []func(Request) bool) bool {
	return !slices.ContainsFunc(match, func(m func(Request) bool) bool { return !m(r) })
}

// ResetRequests forgets the records, and the counts of [Server.OtherRequests]. Records are kept without bound, so a
// benchmark calls it.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorder.requests, s.recorder.other = nil, nil
}

// Concurrent returns the IDs of the pairs of requests that were under way at the same time.
func (s *Server) Concurrent(match ...func(Request) bool) [][2]int {
	var pairs [][2]int
	var open []*span
	for _, e := range s.spans(match) {
		open = slices.DeleteFunc(open, func(o *span) bool { return o.end < e.begin })
		for _, o := range open {
			pairs = append(pairs, [2]int{o.id, e.id})
		}
		open = append(open, e)
	}
	return pairs
}

// MaxConcurrent returns how many of the requests that every match accepts were under way at once, at most.
func (s *Server) MaxConcurrent(match ...func(Request) bool) int {
	most := 0
	var open []*span
	for _, e := range s.spans(match) {
		open = slices.DeleteFunc(open, func(o *span) bool { return o.end < e.begin })
		open = append(open, e)
		most = max(most, len(open))
	}
	return most
}

// span is the time of a request in ticks.
type span struct {
	id         int
	begin, end uint64
}

// spans is in order of begin, since records are. A request under way has no end in sight.
func (s *Server) spans(match []func(Request) bool) []*span {
	var out []*span
	for _, r := range s.records() {
		r.mu.Lock()
		e, request := &span{r.ID, r.begin, r.end}, r.Request
		r.mu.Unlock()
		if e.end == 0 {
			e.end = ^uint64(0)
		}
		if matches(request, match) {
			out = append(out, e)
		}
	}
	return out
}

// ByGrant matches requests of a grant_type.
func ByGrant(grant string) func(Request) bool {
	return func(r Request) bool { return r.Grant == grant }
}

// ByClient matches requests of an app.
func ByClient(clientID string) func(Request) bool {
	return func(r Request) bool { return strings.EqualFold(r.ClientID, clientID) }
}

// ByTenant matches requests to a tenant, by its GUID or its domain: a client that was made with the domain sends to
// endpoints that are named by the GUID.
func ByTenant(tenant string) func(Request) bool {
	return func(r Request) bool {
		return strings.EqualFold(r.Tenant, tenant) || !isMultiTenant(tenant) && tenantID(r.Tenant) == tenantID(tenant)
	}
}

// ByScope matches requests for exactly these scopes, in any order and case, openid, profile and offline_access aside.
func ByScope(scope string) func(Request) bool {
	want := normalizeScope(scope)
	return func(r Request) bool { return r.Scope == want }
}

// ByUser matches requests about a user, by home account ID.
func ByUser(homeAccountID string) func(Request) bool {
	return func(r Request) bool { return r.User == homeAccountID }
}

// serveRequests gives other processes Requests without Form.
func (s *Server) serveRequests(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.Requests())
}
