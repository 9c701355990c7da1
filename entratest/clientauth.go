package entratest

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	jwtBearer        = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	jwtBearerClient  = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	proofNone        = "0"
	proofSecret      = "1"
	proofCertificate = "2"
)

// authenticate finds the request's app and checks that it is what it says it is. The proof is the azpacr of its tokens.
func (s *Server) authenticate(q *tokenRequest) (proof string, oerr *oauthError) {
	clientID := q.form.Get("client_id")
	if clientID == "" {
		return "", missing("client_id")
	}
	app, ok := s.lookupApp(clientID)
	if !ok {
		return "", unknownApp(clientID, q.tenant)
	}
	q.app = app
	secret, assertion := q.form.Get("client_secret"), q.form.Get("client_assertion")
	switch {
	case app.Public:
		if secret != "" || assertion != "" {
			return "", errorf(invalidClient, 700025,
				"Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
		}
		return proofNone, nil
	case assertion != "":
		if t := q.form.Get("client_assertion_type"); t != jwtBearerClient {
			return "", missing("client_assertion_type")
		}
		return proofCertificate, s.checkAssertion(q, assertion)
	case secret != "":
		if app.Secret == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(app.Secret)) == 0 {
			return "", errorf(invalidClient, 7000215, "Invalid client secret provided. Ensure the secret being sent in the "+
				"request is the client secret value, not the client secret ID, for a secret added to app '%s'.", app.ClientID)
		}
		return proofSecret, nil
	case q.grant == "client_credentials":
		return "", noCredential()
	default:
		return "", errorf(invalidClient, 7000218,
			"The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	}
}

func noCredential() *oauthError {
	return errorf(invalidClient, 7000216,
		"'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.")
}

func unknownApp(clientID, tenant string) *oauthError {
	return errorf(unauthorizedClient, 700016, "Application with identifier '%s' was not found in the directory '%s'. "+
		"This can happen if the application has not been installed by the administrator of the tenant or consented to by "+
		"any user in the tenant. You may have sent your authentication request to the wrong tenant.", clientID, tenant)
}

// checkAssertion verifies a signed assertion (RFC 7523 section 3): by the app's certificate, or by this emulator's
// own key for federated credentials.
func (s *Server) checkAssertion(q *tokenRequest, assertion string) *oauthError {
	if claims, err := s.key.verify(assertion); err == nil {
		return checkFederated(q.app, claims)
	}
	claims := &jwt.RegisteredClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"PS256", "RS256"}), jwt.WithExpirationRequired()).
		ParseWithClaims(assertion, claims, func(t *jwt.Token) (any, error) {
			if !namesCertificate(t.Header, q.app.Certificate) {
				return nil, errUnknownCertificate
			}
			return q.app.Certificate.PublicKey, nil
		})
	switch {
	case err == nil:
	case errors.Is(err, errUnknownCertificate):
		return errorf(invalidClient, 700027, "The certificate with identifier used to sign the client assertion is not "+
			"registered on application. [Reason - The key was not found.]. App: '%s'.", q.app.ClientID)
	case errors.Is(err, jwt.ErrTokenMalformed):
		return errorf(invalidClient, 50027, "JWT token is invalid or malformed.")
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return errorf(invalidClient, 700024, "Client assertion is not within its valid time range.")
	default:
		return errorf(invalidClient, 700027, "The certificate used to sign the client assertion failed signature "+
			"validation. [Reason - The key used to sign is not that of the named certificate.]. App: '%s'.", q.app.ClientID)
	}
	if !strings.EqualFold(claims.Issuer, q.app.ClientID) || !strings.EqualFold(claims.Subject, q.app.ClientID) {
		return errorf(invalidClient, 700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	}
	for _, aud := range claims.Audience {
		if s.isTokenAudience(q, aud) {
			return nil
		}
	}
	return errorf(invalidClient, 700023, "Client assertion audience claim does not match Realm issuer.")
}

var errUnknownCertificate = errors.New("certificate not registered")

// namesCertificate reports whether a JWT header points to a certificate: x5t#S256, x5t, or x5c (RFC 7515 section 4.1).
// MSAL Go writes x5t#S256 in padded standard base64 where the RFC wants base64url (accesstokens.go, Credential.JWT);
// Entra ID takes both.
func namesCertificate(header map[string]any, cert *x509.Certificate) bool {
	if cert == nil {
		return false
	}
	sha256sum, sha1sum := sha256.Sum256(cert.Raw), sha1.Sum(cert.Raw)
	if v, ok := header["x5t#S256"].(string); ok {
		return sameBytes(v, sha256sum[:])
	}
	if v, ok := header["x5t"].(string); ok {
		return sameBytes(v, sha1sum[:])
	}
	if chain, ok := header["x5c"].([]any); ok && len(chain) > 0 {
		v, _ := chain[0].(string)
		return sameBytes(v, cert.Raw)
	}
	return false
}

func sameBytes(text string, want []byte) bool {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	return text == base64.RawStdEncoding.EncodeToString(want)
}

// isTokenAudience accepts the tenant's token endpoint and its issuer, on any name of the cloud, with the tenant by name
// or GUID: the clients choose among these.
func (s *Server) isTokenAudience(q *tokenRequest, aud string) bool {
	u, err := url.Parse(aud)
	if err != nil || u.Scheme != "https" || (!isLoginHost(u.Host) && u.Host != s.host && u.Host != q.host) {
		return false
	}
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	switch rest {
	case "oauth2/v2.0/token", "oauth2/token", "v2.0", "":
	default:
		return false
	}
	return strings.EqualFold(tenant, q.tenant) || s.tenantID(tenant) == s.tenantID(q.tenant)
}

// checkFederated accepts a token this emulator issued for exchange: to the app itself, or to an agent by fmi_path.
func checkFederated(app *App, claims jwt.MapClaims) *oauthError {
	if text(claims, "aud") != exchangeAudience {
		return errorf(invalidClient, 700212,
			"No matching federated identity record found for presented assertion audience '%s'.", text(claims, "aud"))
	}
	sub := text(claims, "sub")
	if strings.EqualFold(sub, app.ClientID) || strings.HasSuffix(strings.ToLower(sub), "/"+strings.ToLower(app.ClientID)) {
		return nil
	}
	return errorf(invalidClient, 700213,
		"No matching federated identity record found for presented assertion subject '%s'.", sub)
}
