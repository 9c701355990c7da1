package entratest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
)

func sha1Thumbprint(c *certificate) string {
	sum := sha1.Sum(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// breakSignature changes one character in the middle of the signature.
func breakSignature(token string) string {
	i := strings.LastIndexByte(token, '.') + 20
	c := "A"
	if token[i] == 'A' {
		c = "B"
	}
	return token[:i] + c + token[i+1:]
}

// forge signs a token's claims with a key of one's own, under the same kid.
func forge(t *testing.T, token string) string {
	t.Helper()
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser().ParseUnverified(token, claims)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forged := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	forged.Header = parsed.Header
	signed, err := forged.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func getJSON(t *testing.T, s *entratest.Server, url string, v any) int {
	t.Helper()
	resp, err := s.HTTPClient().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// A web API verifies the tokens as it would Entra ID's: configuration, keys, signature, issuer, audience.
func TestTokensVerifyByJWKS(t *testing.T) {
	s := start(t, nil)
	for name, authority := range map[string]string{"real name": s.Authority(tenant),
		"local name": s.LocalAuthority(tenant)} {
		t.Run(name, func(t *testing.T) {
			var config struct {
				Issuer string `json:"issuer"`
				JWKS   string `json:"jwks_uri"`
				Token  string `json:"token_endpoint"`
			}
			getJSON(t, s, authority+"/v2.0/.well-known/openid-configuration", &config)
			var set struct {
				Keys []struct{ Kty, Kid, N, E string }
			}
			getJSON(t, s, config.JWKS, &set)
			keys := map[string]*rsa.PublicKey{}
			for _, k := range set.Keys {
				keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(decode64(t, k.N)),
					E: int(new(big.Int).SetBytes(decode64(t, k.E)).Int64())}
			}
			resp, err := s.HTTPClient().PostForm(config.Token,
				form("grant_type", "password", "client_id", desktop, "username", ada.Username,
					"password", ada.Password, "scope", "api://"+api+"/access_as_user openid"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var a tokenAnswer
			if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
				t.Fatal(err)
			}
			lookup := func(j *jwt.Token) (any, error) { return keys[j.Header["kid"].(string)], nil }
			for token, audience := range map[string]string{a.AccessToken: api, a.IDToken: desktop} {
				if _, err := jwt.Parse(token, lookup, jwt.WithIssuer(config.Issuer), jwt.WithAudience(audience),
					jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithValidMethods([]string{"RS256"})); err != nil {
					t.Error(err)
				}
				if _, err := jwt.Parse(breakSignature(token), lookup); err == nil {
					t.Error("a broken signature verifies")
				}
			}
		})
	}
}

// The sizes of what production caches. uti makes every token its own.
func TestTokenSizes(t *testing.T) {
	s := start(t, nil)
	user := signIn(t, s, "User.Read openid profile offline_access")
	app := post(t, s, tenant, appForm())
	for name, tt := range map[string]struct {
		token    string
		min, max int
	}{
		"app access": {app.AccessToken, 1500, 2500}, "user access": {user.AccessToken, 2000, 2500},
		"refresh": {user.RefreshToken, 1000, 1100}, "id": {user.IDToken, 900, 1500},
	} {
		t.Logf("%s token: %d characters", name, len(tt.token))
		if n := len(tt.token); n < tt.min || n > tt.max {
			t.Errorf("%s token of %d characters, want %d to %d", name, n, tt.min, tt.max)
		}
	}
	if a, b := claimsOf(t, app.AccessToken)["uti"],
		claimsOf(t, post(t, s, tenant, appForm()).AccessToken)["uti"]; a == b || len(a.(string)) != 22 {
		t.Errorf("uti %v and %v", a, b)
	}
	if !strings.HasPrefix(user.RefreshToken, "0.A") {
		t.Errorf("refresh token begins %q", user.RefreshToken[:4])
	}
}

func TestBehavior(t *testing.T) {
	s := start(t, nil)
	number := func(a tokenAnswer, name string) float64 {
		v, ok := a.fields[name].(float64)
		if !ok {
			return -999
		}
		return v
	}
	sign := func() tokenAnswer { return signIn(t, s, "User.Read openid offline_access") }

	a := sign()
	if number(a, "expires_in") != 3600 || number(a, "ext_expires_in") != 3600 || a.fields["refresh_in"] != nil ||
		a.fields["expires_on"] != nil {
		t.Errorf("defaults: %v", a.fields)
	}
	if a.IDToken == "" || a.RefreshToken == "" || a.ClientInfo == "" || a.Scope != "email openid profile User.Read" {
		t.Errorf("defaults: %v", a.fields)
	}
	var info map[string]string
	if err := json.Unmarshal(decode64(t, a.ClientInfo), &info); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"uid": ada.ObjectID, "utid": ada.TenantID}, info); diff != "" {
		t.Error(diff)
	}
	claims := claimsOf(t, a.AccessToken)
	if claims["exp"].(float64)-claims["iat"].(float64) != 3600 {
		t.Errorf("claims %v", claims)
	}

	s.SetBehavior(func(b *entratest.Behavior) {
		*b = entratest.Behavior{AccessTokenLifetime: 302*time.Second + 900*time.Millisecond, RefreshIn: 2 * time.Second,
			ExtExpiresIn: 600 * time.Second, SendExpiresOn: true}
	})
	a = sign()
	if number(a, "expires_in") != 302 || number(a, "ext_expires_in") != 600 || number(a, "refresh_in") != 2 ||
		a.fields["expires_on"] == nil {
		t.Errorf("set: %v", a.fields)
	}

	s.SetBehavior(func(b *entratest.Behavior) {
		*b = entratest.Behavior{OmitIDToken: true, OmitRefreshToken: true, OmitScope: true, ExtExpiresIn: -1}
	})
	a = sign()
	if len(a.fields) != 3 {
		t.Errorf("omitted: %v", a.fields)
	}

	s.SetBehavior(func(b *entratest.Behavior) { *b = entratest.Behavior{DeclinedScopes: []string{"user.read"}} })
	if a = sign(); a.Scope != "email openid profile" {
		t.Errorf("declined: %v", a.Scope)
	}
	if got := s.Behavior(); got.AccessTokenLifetime != time.Hour || got.RefreshTokenLifetime != 90*24*time.Hour {
		t.Errorf("defaults are not filled in: %+v", got)
	}
}

// What was not asked for is not sent.
func TestScopesDecideTheAnswer(t *testing.T) {
	for scope, want := range map[string]struct {
		granted     string
		id, refresh bool
	}{
		"User.Read":                {"email openid profile User.Read", false, false},
		"User.Read offline_access": {"email openid profile User.Read", false, true},
		"openid":                   {"email openid profile", true, false},
		graph + " openid": {
			"email openid profile https://graph.microsoft.com/User.Read https://graph.microsoft.com/.default", true, false,
		},
		crm + " openid offline_access": {
			"https://org.crm4.dynamics.com/user_impersonation https://org.crm4.dynamics.com/.default", true, true,
		},
		"api://" + api + "/access_as_user profile": {"api://" + api + "/access_as_user", false, false},
		"https://slash.example//.default": {
			"https://slash.example//user_impersonation https://slash.example//.default", false, false,
		},
		"https://graph.microsoft.com/Mail.Read User.Read": {
			"email openid profile https://graph.microsoft.com/Mail.Read User.Read", false, false,
		},
	} {
		a := signIn(t, start(t, nil), scope) // where ada has consented to nothing yet
		if a.Scope != want.granted || (a.IDToken != "") != want.id || (a.RefreshToken != "") != want.refresh {
			t.Errorf("%s: scope %q, id token %t, refresh token %t", scope, a.Scope, a.IDToken != "", a.RefreshToken != "")
		}
	}
	if aud := claimsOf(t, signIn(t, start(t, nil),
		"https://slash.example//.default").AccessToken)["aud"]; aud != "https://slash.example/" {
		t.Errorf("aud %v", aud)
	}
}

// Capabilities show in the token; a challenge is recorded.
func TestClaims(t *testing.T) {
	s := start(t, nil)
	c := secretClient(t, s, webApp, secret, confidential.WithClientCapabilities([]string{"CP1"}))
	got, err := c.AcquireTokenByCredential(t.Context(), []string{graph})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{"CP1"}, claimsOf(t, got.AccessToken)["xms_cc"]); diff != "" {
		t.Error(diff)
	}
	challenge := `{"access_token":{"nbf":{"essential":true,"value":"1600000000"}}}`
	if _, err := c.AcquireTokenByCredential(t.Context(), []string{graph}, confidential.WithClaims(challenge)); err != nil {
		t.Fatal(err)
	}
	if r := s.Requests(); len(r) != 2 || !strings.Contains(r[1].Claims, "1600000000") ||
		!strings.Contains(r[1].Claims, "CP1") {
		t.Errorf("%+v", r)
	}
}

func TestKeyBoundToken(t *testing.T) {
	s := start(t, nil)
	a := post(t, s, tenant, with(appForm(), "token_type", "pop", "req_cnf", "key-1"))
	if a.TokenType != "pop" || claimsOf(t, a.AccessToken)["cnf"] == nil {
		t.Errorf("%v", a.fields)
	}
}

// A user's home decides the tenant where the path does not.
func TestCommonTenant(t *testing.T) {
	s := start(t, nil)
	a := post(t, s, "organizations", form("grant_type", "password", "client_id", desktop, "username", ada.Username,
		"password", ada.Password, "scope", "User.Read"))
	if claims := claimsOf(t, a.AccessToken); claims["tid"] != ada.TenantID || claims["oid"] != ada.ObjectID {
		t.Errorf("claims %v", claims)
	}
	if a.status != http.StatusOK {
		t.Error(a.raw)
	}
	if got, want := bob.HomeAccountID(), "."+entratest.DefaultTenant; !strings.HasSuffix(got, want) || len(got) != 73 {
		t.Errorf("bob's account %s", got)
	}
}
