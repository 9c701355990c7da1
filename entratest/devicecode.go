package entratest

import (
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"
)

// device is a device authorization under way (RFC 8628).
type device struct {
	userCode string
	client   string
	scope    string
	issued   time.Time
	denied   bool
	approved bool
	redeemed bool
	user     User
	epoch    int
}

// serveDeviceCode is the device authorization endpoint (RFC 8628 section 3.1).
func (s *Server) serveDeviceCode(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	tenant := r.PathValue("tenant")
	refuse := func(oerr *oauthError) { s.writeError(w, r, oerr) }
	if err := r.ParseForm(); err != nil {
		refuse(errorf(invalidRequest, 9002313, "Invalid request. Request is malformed or invalid."))
		return
	}
	if !isMultiTenant(tenant) {
		if _, oerr := s.resolveTenant(tenant); oerr != nil {
			refuse(oerr)
			return
		}
	}
	client, scope := r.PostForm.Get("client_id"), r.PostForm.Get("scope")
	app, ok := s.lookupApp(client)
	switch {
	case client == "":
		refuse(missing("client_id"))
		return
	case !ok:
		refuse(unknownApp(client, tenant))
		return
	case scope == "":
		refuse(missing("scope"))
		return
	}
	scopes, oerr := parseScopes(scope)
	if oerr == nil {
		oerr = app.consented(scopes)
	}
	if oerr != nil {
		refuse(oerr)
		return
	}
	b := s.Behavior()
	d := &device{userCode: newUserCode(), client: client, scope: scope, issued: time.Now()}
	deviceCode := s.issued("DAQABAAEAAAB" + random(180))
	s.mu.Lock()
	s.devices[deviceCode] = d
	s.mu.Unlock()
	setHeaders(w, r)
	const page = "https://microsoft.com/devicelogin"
	writeJSON(w, http.StatusOK, map[string]any{
		"user_code":        d.userCode,
		"device_code":      deviceCode,
		"verification_uri": page,
		"expires_in":       max(seconds(b.DeviceCodeLifetime), 1),
		"interval":         5,
		"message": "To sign in, use a web browser to open the page " + page + " and enter the code " + d.userCode +
			" to authenticate.",
	})
}

// newUserCode avoids vowels and look-alikes, as people type it.
func newUserCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	b := make([]byte, 9)
	_, _ = rand.Read(b) // never fails (crypto/rand since Go 1.24)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// ApproveDevice is the user entering a device's code and signing in.
func (s *Server) ApproveDevice(userCode, username string) error {
	u, epoch, oerr := s.signIn(username)
	if oerr != nil {
		return errors.New("entratest: " + oerr.message)
	}
	return s.decideDevice(userCode, func(d *device) { d.approved, d.user, d.epoch = true, u, epoch })
}

// DenyDevice is the user refusing.
func (s *Server) DenyDevice(userCode string) error {
	return s.decideDevice(userCode, func(d *device) { d.denied = true })
}

func (s *Server) decideDevice(userCode string, decide func(*device)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if strings.EqualFold(d.userCode, userCode) {
			if d.approved || d.denied {
				return errors.New("entratest: the device code was decided before")
			}
			decide(d)
			return nil
		}
	}
	return errors.New("entratest: no device waits under this code")
}

// grantDeviceCode is the poll of RFC 8628 section 3.4, with the error codes of
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code. It is never impatient: slow_down comes by
// a [Fault] only.
func (s *Server) grantDeviceCode(q *tokenRequest, proof string) (*answer, *oauthError) {
	value := q.form.Get("device_code")
	if value == "" {
		return nil, missing("device_code")
	}
	s.mu.Lock()
	d, ok := s.devices[value]
	if !ok || !strings.EqualFold(d.client, q.app.ClientID) {
		s.mu.Unlock()
		return nil, errorf("bad_verification_code", 70018,
			"Invalid verification code due to user typing in wrong user code for device code flow.")
	}
	state := *d
	expired := time.Since(d.issued) > q.behavior.DeviceCodeLifetime
	if d.approved && !expired {
		d.redeemed = true
	}
	revoked := s.revoked(d.user, d.epoch)
	s.mu.Unlock()
	switch {
	case state.redeemed:
		return nil, errorf(invalidGrant, 54005,
			"OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an "+
				"existing refresh token.")
	case expired:
		return nil, errorf("expired_token", 70020,
			"The provided value for the input parameter 'device_code' is not valid. This device code has expired.")
	case state.denied:
		return nil, errorf("authorization_declined", 70000, "The end user denied the authorization request.")
	case !state.approved:
		return nil, errorf("authorization_pending", 70016,
			"OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	case revoked:
		return nil, errRevoked()
	}
	scopes, oerr := parseScopes(state.scope)
	if oerr != nil {
		return nil, oerr
	}
	return s.userAnswer(q, proof, userGrant{user: state.user, epoch: state.epoch, scopes: scopes, byCode: true})
}
