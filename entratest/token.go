package entratest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
)

// tokenRequest is one request on its way through the token endpoint.
type tokenRequest struct {
	form     url.Values
	grant    string
	tenant   string // as in the path
	host     string // as the client addressed it
	app      *App
	caps     []string // xms_cc
	behavior Behavior
	varied   bool // lifetimes are the server's choice
}

// maxBody bounds a token request; the largest honest ones carry two tokens.
const maxBody = 1 << 20

// serveToken is the token endpoint. The order is the contract of faults, hooks and records: the request is recorded,
// hooks run, a fault may take its place, it takes effect, a fault or latency may still come before the answer.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	err := r.ParseForm()
	q := &tokenRequest{
		form:   r.PostForm,
		grant:  r.PostForm.Get("grant_type"),
		tenant: r.PathValue("tenant"),
		host:   r.Host,
	}
	entry := s.arrived(q)
	for _, h := range s.currentHooks() {
		h(entry.snapshot())
	}
	f := s.takeFault(entry)
	if f != nil && f.insteadOf() {
		s.applyFault(w, r, f, entry)
		return
	}

	trace, correlation := setHeaders(w, r)
	q.behavior, q.varied = s.Behavior(), s.varies()
	var body []byte
	status, name := http.StatusOK, ""
	result, oerr := (*answer)(nil), errorf(invalidRequest, 9002313, "Invalid request. Request is malformed or invalid.")
	if err == nil {
		result, oerr = s.grant(q)
	}
	if oerr != nil {
		status, name = oerr.status(), oerr.name()
		body = oerr.body(trace, correlation)
	} else {
		entry.setUser(result.user)
		body = result.json()
		if f != nil && f.Transform != nil {
			body = f.Transform(body)
		}
	}

	if f != nil && f.interrupts() {
		s.applyFault(w, r, f, entry)
		return
	}
	if !sleep(r, q.behavior.Latency) {
		s.answered(entry, 0, "client left")
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", contentJSON)
	if f != nil && f.ContentType != "" {
		w.Header().Set("Content-Type", f.ContentType)
	}
	// Before the first byte: a request that a client sends because of this answer must not seem to overlap.
	s.answered(entry, status, name)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left
}

// sleep waits and reports whether the client is still there to be answered.
func sleep(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// grant decides a token request. Nothing is used up unless all of it is right.
func (s *Server) grant(q *tokenRequest) (*answer, *oauthError) {
	if q.grant == "" {
		return nil, missing("grant_type")
	}
	if !isMultiTenant(q.tenant) {
		if _, oerr := s.resolveTenant(q.tenant); oerr != nil {
			return nil, oerr
		}
	}
	if claims := q.form.Get("claims"); claims != "" {
		var oerr *oauthError
		if q.caps, oerr = capabilities(claims); oerr != nil {
			return nil, oerr
		}
	}
	grants := map[string]func(*tokenRequest, string) (*answer, *oauthError){
		"client_credentials": s.grantClientCredentials,
		"authorization_code": s.grantAuthorizationCode,
		"refresh_token":      s.grantRefreshToken,
		"device_code":        s.grantDeviceCode, // what MSAL Go sends; the next line is RFC 8628
		"urn:ietf:params:oauth:grant-type:device_code": s.grantDeviceCode,
		jwtBearer:  s.grantOnBehalfOf,
		"user_fic": s.grantUserFIC,
		"password": s.grantPassword,
	}
	decide, ok := grants[q.grant]
	if !ok {
		return nil, errorf(unsupportedGrant, 70003, "The app requested an unsupported grant type '%s'.", q.grant)
	}
	proof, oerr := s.authenticate(q)
	if oerr != nil {
		return nil, oerr
	}
	return decide(q, proof)
}

// capabilities reads access_token.xms_cc.values of a claims parameter (OpenID Connect Core section 5.5). The rest of
// the parameter is a challenge, which is recorded and granted.
func capabilities(claims string) ([]string, *oauthError) {
	var parsed struct {
		AccessToken struct {
			XmsCC struct {
				Values []string `json:"values"`
			} `json:"xms_cc"`
		} `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(claims), &parsed); err != nil {
		return nil, errorf(invalidRequest, 9002313,
			"Invalid request. Request is malformed or invalid. The claims parameter is not valid JSON.")
	}
	return parsed.AccessToken.XmsCC.Values, nil
}

// answer is a successful token response (RFC 6749 section 5.1).
type answer struct {
	user string // home account ID, for the record

	TokenType    string `json:"token_type"`
	Scope        string `json:"scope,omitempty"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn *int64 `json:"ext_expires_in,omitempty"`
	RefreshIn    *int64 `json:"refresh_in,omitempty"`
	ExpiresOn    string `json:"expires_on,omitempty"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Family       string `json:"foci,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`
}

func (a *answer) json() []byte {
	body, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return body
}

func (q *tokenRequest) newAnswer() *answer {
	b := q.behavior
	a := &answer{TokenType: "Bearer", ExpiresIn: seconds(b.AccessTokenLifetime)}
	if q.keyBound() {
		a.TokenType = q.form.Get("token_type")
	}
	if b.ExtExpiresIn >= 0 || b.ExtExpiresIn == b.AccessTokenLifetime {
		a.ExtExpiresIn = new(seconds(b.ExtExpiresIn))
	}
	if b.RefreshIn > 0 {
		a.RefreshIn = new(seconds(b.RefreshIn))
	}
	if b.SendExpiresOn {
		a.ExpiresOn = fmt.Sprint(time.Now().Unix() + a.ExpiresIn)
	}
	return a
}

// keyBound reports whether a proof-of-possession token is asked for (RFC 9449's older kin; MSAL's
// AuthenticationScheme).
func (q *tokenRequest) keyBound() bool {
	return q.form.Get("req_cnf") != "" && !strings.EqualFold(q.form.Get("token_type"), "bearer")
}

// userAnswer answers for a user with what the scopes ask for.
func (s *Server) userAnswer(q *tokenRequest, proof string, g userGrant) (*answer, *oauthError) {
	tid, oerr := s.userTenant(q.tenant, g.user)
	if oerr != nil {
		return nil, oerr
	}
	granted := g.scopes.granted(s.consentTo(q, tid, g.user, g.scopes), q.behavior.DeclinedScopes)
	session := cmp.Or(g.session, uuid.NewString())
	if g.byCode {
		s.pass(q, g.scopes.resource, session, g.claims, q.form.Get("claims"))
	}
	s.vary(q, tid, g.user.HomeAccountID(), g.scopes.resource)
	a := q.newAnswer()
	a.user = g.user.HomeAccountID()
	if !q.behavior.OmitScope {
		a.Scope = granted
	}
	a.AccessToken = s.issueAccess(accessToken{
		host: q.host, tid: tid, audience: s.audience(g.scopes.resource), client: q.app.ClientID, proof: proof,
		user: &g.user, session: session, scopes: permissions(granted), caps: q.caps, cnf: q.form.Get("req_cnf"),
		lifetime: q.behavior.AccessTokenLifetime,
	})
	if g.scopes.offline && !q.behavior.OmitRefreshToken {
		a.RefreshToken, a.Family = s.issued(opaque(refreshTokenBytes)), q.app.Family
		s.mu.Lock()
		s.refresh[a.RefreshToken] = &refreshToken{
			user: g.user, epoch: g.epoch, client: q.app.ClientID, family: q.app.Family, scope: g.scopes.raw,
			generation: g.generation + 1, session: session, issued: time.Now(),
		}
		s.mu.Unlock()
	}
	if q.behavior.OmitIDToken {
		return a, nil
	}
	if g.scopes.openid {
		a.IDToken = s.issueID(q.host, tid, q.app.ClientID, g.nonce, g.user)
	}
	if q.form.Get("client_info") == "1" {
		info, err := json.Marshal(map[string]string{"uid": g.user.ObjectID, "utid": g.user.TenantID})
		if err != nil {
			panic(err) // strings always marshal
		}
		a.ClientInfo = base64.RawURLEncoding.EncodeToString(info)
	}
	return a, nil
}
