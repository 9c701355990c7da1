package entratest

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// processKey makes one RSA key for all servers of a process: a key takes a noticeable part of a second, and a
// server is wanted per test. So a token of one server verifies at another of the same process.
var processKey = sync.OnceValues(func() (*signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(365 * 24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, err
	}
	thumbprint := sha1.Sum(cert) // Entra ID's kid is the x5t (RFC 7517 section 4.8), which is SHA-1
	return &signingKey{private: private, id: base64.RawURLEncoding.EncodeToString(thumbprint[:]), cert: cert}, nil
})

func (k *signingKey) sign(claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = k.id
	signed, err := token.SignedString(k.private)
	if err != nil {
		panic(err) // claims are ours, the key is sound
	}
	return signed
}

// verify checks signature and times of a token of this emulator.
func (k *signingKey) verify(token string) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired()).
		ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
			if t.Header["kid"] != k.id {
				return nil, errors.New("unknown kid")
			}
			return k.private.Public(), nil
		})
	return claims, err
}

// text is a claim that is a string.
func text(claims jwt.MapClaims, name string) string {
	v, _ := claims[name].(string)
	return v
}

// serveKeys publishes the signing key (RFC 7517).
func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	if !isMultiTenant(r.PathValue("tenant")) {
		if _, err := s.resolveTenant(r.PathValue("tenant")); err != nil {
			s.writeError(w, r, err)
			return
		}
	}
	public := s.key.private.PublicKey
	setHeaders(w, r)
	writeJSON(w, http.StatusOK, map[string]any{"keys": []map[string]any{{
		"kty": "RSA",
		"use": "sig",
		"alg": "RS256",
		"kid": s.key.id,
		"x5t": s.key.id,
		"n":   base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
		"e":   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
		"x5c": []string{base64.StdEncoding.EncodeToString(s.key.cert)},
	}}})
}

// random is n random bytes as base64url text.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand since Go 1.24)
	return base64.RawURLEncoding.EncodeToString(b)
}

// opaque is a code or refresh token: text of a kind only the issuer can read, of the length Entra ID's have.
func opaque(bytes int) string { return "0.A" + random(48) + ".AgABAwEAAAB" + random(bytes) }

const (
	refreshTokenBytes = 720 // makes 1,039 characters
	codeBytes         = 480
)

// accessToken holds what an access token says.
type accessToken struct {
	host     string // the token endpoint's
	tid      string
	audience string
	client   string // azp
	proof    string // azpacr: 0 none, 1 secret, 2 certificate
	user     *User  // nil: the app itself
	session  string // sid, the user's sign-in; "": a new one
	scopes   string // scp
	caps     []string
	cnf      string // req_cnf of a key-bound token
	subject  string // instead of the app's, see fmi_path
	lifetime time.Duration
}

// appRoles pad an app's token to the size a consented app has.
var appRoles = []string{
	"Application.Read.All", "AuditLog.Read.All", "Directory.Read.All", "Files.ReadWrite.All", "Group.Read.All",
	"Mail.Read", "Sites.Read.All", "Sites.Selected", "User.Read.All", "User.ReadWrite.All",
}

// issueAccess signs an access token with the claims of Entra ID's v2.0 ones
// (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference). Size is part of the
// emulation: what is cached, sealed and sent is 1.5 to 2.5 KB, and uti makes each one different.
func (s *Server) issueAccess(t accessToken) string {
	now := time.Now()
	claims := jwt.MapClaims{
		"aud":        t.audience,
		"iss":        issuer(t.host, t.tid),
		"iat":        now.Unix(),
		"nbf":        now.Unix(),
		"exp":        now.Unix() + seconds(t.lifetime),
		"aio":        "A" + random(72),
		"azp":        t.client,
		"azpacr":     t.proof,
		"rh":         "1.A" + random(36) + ".",
		"tid":        t.tid,
		"uti":        random(16),
		"ver":        "2.0",
		"xms_ftd":    random(48),
		"xms_tcdt":   int64(1700000000),
		"xms_st":     map[string]any{"sub": random(32)},
		"xms_idrel":  "1 8",
		"xms_acd":    int64(1690000000),
		"xms_act_fc": "3 9",
	}
	if t.user == nil {
		claims["idtyp"] = "app"
		claims["roles"] = appRoles
		claims["oid"] = servicePrincipal(t.client, t.tid)
		claims["sub"] = claims["oid"]
		if t.subject != "" {
			claims["sub"] = t.subject
		}
	} else {
		oid := t.user.objectIDIn(t.tid)
		groups := make([]string, 12)
		for i := range groups {
			groups[i] = uuid.NewSHA1(uuid.NameSpaceOID, []byte(fmt.Sprint("group ", i, t.tid))).String()
		}
		claims["groups"] = groups
		claims["name"] = t.user.Name
		claims["oid"] = oid
		claims["preferred_username"] = t.user.Username
		claims["scp"] = t.scopes
		claims["sid"] = cmp.Or(t.session, uuid.NewString())
		claims["sub"] = pairwise(oid, t.audience)
	}
	if len(t.caps) > 0 {
		claims["xms_cc"] = t.caps
	}
	if t.cnf != "" {
		claims["cnf"] = map[string]any{"kid": t.cnf}
	}
	return s.issued(s.key.sign(claims))
}

// idTokenAge is how far back the iat of an ID token lies: Entra ID allows for the clocks of those who read it.
const idTokenAge = 299 * time.Second

// issueID signs an ID token (OpenID Connect Core section 2).
func (s *Server) issueID(host, tid, client, nonce string, u User) string {
	now := time.Now()
	oid := u.objectIDIn(tid)
	claims := jwt.MapClaims{
		"aud":                client,
		"iss":                issuer(host, tid),
		"iat":                now.Add(-idTokenAge).Unix(),
		"nbf":                now.Add(-idTokenAge).Unix(),
		"exp":                now.Add(time.Hour).Unix(),
		"aio":                "A" + random(48),
		"name":               u.Name,
		"oid":                oid,
		"preferred_username": u.Username,
		"rh":                 "1.A" + random(36) + ".",
		"sub":                pairwise(oid, client),
		"tid":                tid,
		"uti":                random(16),
		"ver":                "2.0",
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return s.issued(s.key.sign(claims))
}

// pairwise is the sub of a user for one audience.
func pairwise(oid, audience string) string {
	sum := sha1.Sum([]byte(oid + " " + audience))
	return base64.RawURLEncoding.EncodeToString(append(sum[:], "entratest123"...))
}

// servicePrincipal is the object ID of an app in a tenant.
func servicePrincipal(clientID, tid string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("sp "+clientID+" "+tid)).String()
}

// exchangeAudience is who tokens are for that prove a workload or an agent
// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation).
const exchangeAudience = "api://AzureADTokenExchange"

// UserToken returns an access token for a user, as a web API receives it and passes it on with on-behalf-of.
// audienceOrScope names the API: its client ID, api://<client ID>, or a scope of it; "" means clientID itself. clientID
// is the app the user sits at (azp). So for an API that acts on behalf of its callers, UserToken(api,
// "ada@contoso.com", "").
//
// The token is for the user's home tenant and lives for [Behavior].AccessTokenLifetime.
func (s *Server) UserToken(clientID, username, audienceOrScope string) (string, error) {
	if audienceOrScope == "" {
		audienceOrScope = clientID
	}
	u, _, oerr := s.signIn(username)
	if oerr != nil {
		return "", errors.New("entratest: " + oerr.message)
	}
	audience, scope := audienceOrScope, "access_as_user"
	if resource, name, ok := splitScope(audienceOrScope); ok {
		audience, scope = resource, name
	}
	return s.issueAccess(accessToken{
		host: publicCloud.network, tid: u.TenantID, audience: s.audience(audience), client: clientID, proof: "0",
		user: &u, scopes: scope, lifetime: s.Behavior().AccessTokenLifetime,
	}), nil
}

// FederatedCredential returns a token that proves clientID without a secret of its own: what a workload identity's
// issuer gives a pod, or Entra ID an agent. It serves as client assertion (confidential.NewCredFromAssertionCallback,
// azidentity.ClientAssertionCredential) and as the assertion of AcquireTokenByUserFederatedIdentityCredential. The real
// chain works too: a client_credentials request for api://AzureADTokenExchange/.default, with WithFMIPath(agent) for an
// agent's client assertion.
func (s *Server) FederatedCredential(clientID string) (string, error) {
	if _, ok := s.lookupApp(clientID); !ok {
		return "", errors.New("entratest: FederatedCredential: no app " + clientID)
	}
	return s.issueAccess(accessToken{
		host: publicCloud.network, tid: tenantID(DefaultTenant), audience: exchangeAudience, client: clientID,
		proof: "2", subject: clientID, lifetime: s.Behavior().AccessTokenLifetime,
	}), nil
}
