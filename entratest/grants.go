package entratest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// userGrant is what a grant leads to: tokens for a user.
type userGrant struct {
	user       User
	epoch      int
	scopes     scopeSet
	nonce      string
	generation int    // of the refresh token that was redeemed; 0: a sign-in
	session    string // of the sign-in; "": this is one
	byCode     bool   // the user was there: an authorization or device code
	claims     string // of the authorization request
}

// refreshToken is the server's side of one.
type refreshToken struct {
	user       User
	epoch      int
	client     string
	family     string // of the client
	scope      string // of the request that brought it
	generation int    // 1 from a sign-in, one more with each redemption
	session    string // of the sign-in
	issued     time.Time
	redeemed   bool
}

// grantClientCredentials is RFC 6749 section 4.4. Entra ID answers with four fields: no scope, refresh token or
// client_info (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (s *Server) grantClientCredentials(q *tokenRequest, proof string) (*answer, *oauthError) {
	if q.app.Public {
		return nil, noCredential()
	}
	if isMultiTenant(q.tenant) {
		return nil, errorf(invalidRequest, 50059,
			"No tenant-identifying information found in either the request or implied by any provided credentials.")
	}
	scope := q.form.Get("scope")
	if scope == "" {
		return nil, missing("scope")
	}
	scopes, oerr := parseAppScopes(scope)
	if oerr != nil {
		return nil, oerr
	}
	tid, oerr := s.resolveTenant(q.tenant)
	if oerr != nil {
		return nil, oerr
	}
	subject := ""
	if path := q.form.Get("fmi_path"); path != "" {
		subject = "/eid1/c/pub/t/" + tid + "/a/" + q.app.ClientID + "/" + path
	}
	s.vary(q, tid, "", scopes.resource)
	a := q.newAnswer()
	a.AccessToken = s.issueAccess(accessToken{
		host: q.host, tid: tid, audience: s.audience(scopes.resource), client: q.app.ClientID, proof: proof,
		caps: q.caps, cnf: q.form.Get("req_cnf"), subject: subject, lifetime: q.behavior.AccessTokenLifetime,
	})
	return a, nil
}

// grantAuthorizationCode is RFC 6749 section 4.1.3 with PKCE (RFC 7636 section 4.6).
func (s *Server) grantAuthorizationCode(q *tokenRequest, proof string) (*answer, *oauthError) {
	value := q.form.Get("code")
	if value == "" {
		return nil, missing("code")
	}
	if q.form.Get("redirect_uri") == "" {
		return nil, missing("redirect_uri")
	}
	s.mu.Lock()
	code, ok := s.codes[value]
	s.mu.Unlock()
	if !ok {
		return nil, errorf(invalidGrant, 70000, "The provided value for the 'code' parameter is not valid.")
	}
	scope := q.form.Get("scope")
	if scope == "" {
		scope = code.scope
	}
	scopes, oerr := parseScopes(scope)
	if oerr != nil {
		return nil, oerr
	}
	if oerr := q.app.consented(scopes); oerr != nil {
		return nil, oerr
	}
	switch {
	case !strings.EqualFold(code.client, q.app.ClientID):
		return nil, errorf(invalidGrant, 70000, "The provided authorization code was issued to another application.")
	case !isMultiTenant(q.tenant) && !isMultiTenant(code.tenant) && s.tenantID(code.tenant) != s.tenantID(q.tenant):
		return nil, errorf(invalidGrant, 700005,
			"Provided Authorization Code is intended to use against other tenant, thus rejected.")
	case code.redirectURI != q.form.Get("redirect_uri"):
		return nil, errorf(invalidClient, 500112, "The reply address '%s' does not match the reply address '%s' provided "+
			"when requesting Authorization code.", q.form.Get("redirect_uri"), code.redirectURI)
	case time.Since(code.issued) > q.behavior.CodeLifetime:
		return nil, errorf(invalidGrant, 70008, "The provided authorization code or refresh token has expired due to "+
			"inactivity. Send a new interactive authorization request for this user and resource.")
	case !code.verifies(q.form.Get("code_verifier")):
		return nil, errorf(invalidGrant, 501481,
			"The Code_Verifier does not match the code_challenge supplied in the authorization request.")
	}
	s.mu.Lock()
	redeemed, revoked := code.redeemed, s.revoked(code.user, code.epoch)
	code.redeemed = true
	s.mu.Unlock()
	switch {
	case redeemed:
		return nil, errorf(invalidGrant, 54005,
			"OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an "+
				"existing refresh token.")
	case revoked:
		return nil, errRevoked()
	}
	return s.userAnswer(q, proof, userGrant{user: code.user, epoch: code.epoch, scopes: scopes, nonce: code.nonce,
		byCode: true, claims: code.claims})
}

// verifies compares a verifier with the challenge of the sign-in. MSAL Go sends an empty code_verifier where it has
// none (accesstokens.go, FromAuthCode), so empty is absent. A verifier for a code without challenge is refused (RFC
// 9700 section 4.8.2): somebody removed the challenge on its way.
func (c *authCode) verifies(verifier string) bool {
	if c.challenge == "" {
		return verifier == ""
	}
	if c.challengeMethod == "S256" {
		sum := sha256.Sum256([]byte(verifier))
		verifier = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return subtle.ConstantTimeCompare([]byte(verifier), []byte(c.challenge)) == 1
}

// revoked is called with mu held.
func (s *Server) revoked(u User, epoch int) bool {
	now, ok := s.users[strings.ToLower(u.Username)]
	return ok && now.epoch != epoch
}

func errRevoked() *oauthError {
	return errorf(invalidGrant, 50173,
		"The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed "+
			"or reset their password.")
}

// grantRefreshToken is RFC 6749 section 6. Entra ID's refresh tokens work for any resource and for any tenant the user
// is in; each use brings a new one, and the old goes on working
// (https://learn.microsoft.com/entra/identity-platform/refresh-tokens).
func (s *Server) grantRefreshToken(q *tokenRequest, proof string) (*answer, *oauthError) {
	value := q.form.Get("refresh_token")
	if value == "" {
		return nil, missing("refresh_token")
	}
	s.mu.Lock()
	rt, ok := s.refresh[value]
	s.mu.Unlock()
	if !ok {
		return nil, errorf(invalidGrant, 9002313, "Invalid request. Request is malformed or invalid.")
	}
	scope := q.form.Get("scope")
	if scope == "" {
		scope = rt.scope
	}
	scopes, oerr := parseScopes(scope)
	if oerr != nil {
		return nil, oerr
	}
	// A refresh goes on being one without asking for offline_access again.
	scopes.offline = true
	if oerr := q.app.consented(scopes); oerr != nil {
		return nil, oerr
	}
	if _, oerr := s.userTenant(q.tenant, rt.user); oerr != nil {
		return nil, oerr
	}
	switch {
	case !strings.EqualFold(rt.client, q.app.ClientID) && (rt.family == "" || rt.family != q.app.Family):
		return nil, errorf(invalidGrant, 70000, "Provided grant is invalid or malformed.")
	case time.Since(rt.issued) > q.behavior.RefreshTokenLifetime:
		return nil, errorf(invalidGrant, 700082, "The refresh token has expired due to inactivity. The token was issued on "+
			"%s and was inactive for %s.", rt.issued.UTC().Format(time.RFC3339), q.behavior.RefreshTokenLifetime)
	}
	if oerr := s.stepUp(q, scopes.resource, rt.session); oerr != nil {
		return nil, oerr
	}
	s.mu.Lock()
	redeemed, revoked := rt.redeemed, s.revoked(rt.user, rt.epoch)
	if q.behavior.RotateRefreshTokens && !revoked {
		rt.redeemed = true
	}
	s.mu.Unlock()
	switch {
	case revoked:
		return nil, errRevoked()
	case redeemed && q.behavior.RotateRefreshTokens:
		return nil, errorf(invalidGrant, 70000,
			"Provided grant is invalid or malformed. The refresh token was already redeemed.")
	}
	return s.userAnswer(q, proof, userGrant{user: rt.user, epoch: rt.epoch, scopes: scopes, generation: rt.generation,
		session: rt.session})
}

// grantOnBehalfOf is RFC 7523 section 2.1 with Microsoft's requested_token_use
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow).
func (s *Server) grantOnBehalfOf(q *tokenRequest, proof string) (*answer, *oauthError) {
	assertion := q.form.Get("assertion")
	switch use := q.form.Get("requested_token_use"); {
	case assertion == "":
		return nil, missing("assertion")
	case use == "":
		return nil, missing("requested_token_use")
	case use != "on_behalf_of":
		return nil, errorf(unsupportedGrant, 70003, "The app requested an unsupported value of 'requested_token_use'.")
	}
	scopes, oerr := q.userScopes()
	if oerr != nil {
		return nil, oerr
	}
	claims, err := s.key.verify(assertion)
	switch {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, errorf(invalidRequest, 50027, "JWT token is invalid or malformed.")
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return nil, errorf(invalidGrant, 500133, "Assertion is not within its valid time range. Ensure that the access "+
			"token is not expired before using it for user assertion, or request a new token.")
	default:
		return nil, errorf(invalidGrant, 50013, "Assertion failed signature validation. [Reason - The key was not found.].")
	}
	if aud := text(claims, "aud"); !strings.EqualFold(strings.TrimPrefix(aud, "api://"), q.app.ClientID) {
		return nil, errorf(invalidGrant, 500131, "Assertion audience does not match the Client app presenting the "+
			"assertion. The audience in the assertion was '%s' and the expected audience is 'api://%s' or one of the "+
			"Application Uris of this application.", aud, q.app.ClientID)
	}
	if text(claims, "idtyp") == "app" {
		return nil, errorf(unauthorizedClient, 7000114,
			"Application '%s' is not allowed to make application on-behalf-of calls.", text(claims, "azp"))
	}
	u, epoch, ok := s.userIn(text(claims, "tid"), text(claims, "oid"))
	if !ok {
		return nil, errorf(invalidGrant, 50034, "The user account does not exist in the directory.")
	}
	session := text(claims, "sid")
	if oerr := s.stepUp(q, scopes.resource, session); oerr != nil {
		return nil, oerr
	}
	return s.userAnswer(q, proof, userGrant{user: u, epoch: epoch, scopes: scopes, session: session})
}

// grantUserFIC exchanges an agent's token for a user's (MSAL Go: accesstokens.go,
// FromUserFederatedIdentityCredential): the client proves itself as always, the exchanged token shows
// that it is the agent, and user_id or username says for whom.
func (s *Server) grantUserFIC(q *tokenRequest, proof string) (*answer, *oauthError) {
	credential := q.form.Get("user_federated_identity_credential")
	if credential == "" {
		return nil, missing("user_federated_identity_credential")
	}
	name := q.form.Get("user_id")
	if name == "" {
		name = q.form.Get("username")
	}
	if name == "" {
		return nil, missing("user_id")
	}
	scopes, oerr := q.userScopes()
	if oerr != nil {
		return nil, oerr
	}
	claims, err := s.key.verify(credential)
	switch {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return nil, errorf(invalidGrant, 500133, "Assertion is not within its valid time range.")
	default:
		return nil, errorf(invalidGrant, 50013, "Assertion failed signature validation. [Reason - The key was not found.].")
	}
	if text(claims, "aud") != exchangeAudience || !strings.EqualFold(text(claims, "azp"), q.app.ClientID) {
		return nil, errorf(invalidGrant, 500131, "Assertion audience does not match the Client app presenting the assertion.")
	}
	u, epoch, oerr := s.signIn(name)
	if oerr != nil {
		return nil, oerr
	}
	if oerr := s.stepUp(q, scopes.resource, ""); oerr != nil {
		return nil, oerr
	}
	return s.userAnswer(q, proof, userGrant{user: u, epoch: epoch, scopes: scopes})
}

// grantPassword is RFC 6749 section 4.3.
func (s *Server) grantPassword(q *tokenRequest, proof string) (*answer, *oauthError) {
	for _, p := range []string{"username", "password"} {
		if q.form.Get(p) == "" {
			return nil, missing(p)
		}
	}
	scopes, oerr := q.userScopes()
	if oerr != nil {
		return nil, oerr
	}
	u, epoch, oerr := s.signIn(q.form.Get("username"))
	if oerr != nil {
		return nil, oerr
	}
	if u.Password == "" || subtle.ConstantTimeCompare([]byte(u.Password), []byte(q.form.Get("password"))) == 0 {
		return nil, errorf(invalidGrant, 50126, "Error validating credentials due to invalid username or password.")
	}
	if oerr := s.stepUp(q, scopes.resource, ""); oerr != nil {
		return nil, oerr
	}
	return s.userAnswer(q, proof, userGrant{user: u, epoch: epoch, scopes: scopes})
}

// userScopes is the scope parameter of grants where no earlier request named scopes.
func (q *tokenRequest) userScopes() (scopeSet, *oauthError) {
	scope := q.form.Get("scope")
	if scope == "" {
		return scopeSet{}, missing("scope")
	}
	scopes, oerr := parseScopes(scope)
	if oerr != nil {
		return scopes, oerr
	}
	return scopes, q.app.consented(scopes)
}
