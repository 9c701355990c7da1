package entratest_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/entratest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	webApp  = "11111111-1111-4111-8111-111111111111" // confidential: secret
	api     = "22222222-2222-4222-8222-222222222222" // confidential: secret and certificate
	desktop = "33333333-3333-4333-8333-333333333333" // public
	secret  = "app-secret-8Q~value"
	tenant  = "contoso.onmicrosoft.com"
	graph   = "https://graph.microsoft.com/.default"
	crm     = "https://org.crm4.dynamics.com/.default"
	reply   = "https://app.example/signin"
)

var (
	ada = entratest.User{ObjectID: "aaaaaaaa-0000-4000-8000-000000000001",
		TenantID: "99999999-0000-4000-8000-000000000001", Username: "ada@contoso.com", Name: "Ada", Password: "pa55-ada"}
	bob = entratest.User{Username: "bob@contoso.com"}

	certKey, cert = newCertificate()
)

type certificate = x509.Certificate

func newCertificate() (*rsa.PrivateKey, *x509.Certificate) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return key, c
}

// start runs a server with the apps and users above.
func start(t testing.TB, cfg *entratest.Config) *entratest.Server {
	t.Helper()
	s, err := entratest.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	s.AddApp(entratest.App{ClientID: webApp, Secret: secret, RedirectURIs: []string{reply}})
	s.AddApp(entratest.App{ClientID: api, Secret: secret, Certificate: cert})
	s.AddApp(entratest.App{ClientID: desktop, Public: true, RedirectURIs: []string{"http://localhost"}})
	s.AddUser(ada)
	s.AddUser(bob)
	return s
}

func secretClient(
	t testing.TB, s *entratest.Server, clientID, secret string, opts ...confidential.Option,
) confidential.Client {
	t.Helper()
	cred, err := confidential.NewCredFromSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return confidentialClient(t, s, clientID, cred, opts...)
}

func confidentialClient(
	t testing.TB, s *entratest.Server, clientID string, cred confidential.Credential, opts ...confidential.Option,
) confidential.Client {
	t.Helper()
	opts = append([]confidential.Option{confidential.WithHTTPClient(s.HTTPClient())}, opts...)
	c, err := confidential.New(s.Authority(tenant), clientID, cred, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func publicClient(t testing.TB, s *entratest.Server, opts ...public.Option) public.Client {
	t.Helper()
	opts = append([]public.Option{public.WithAuthority(s.Authority(tenant)), public.WithHTTPClient(s.HTTPClient())},
		opts...)
	c, err := public.New(desktop, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tokenAnswer is an answer of the token endpoint, read without MSAL.
type tokenAnswer struct {
	status int
	header http.Header
	raw    string

	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	ClientInfo   string `json:"client_info"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	Error        string `json:"error"`
	Description  string `json:"error_description"`
	Suberror     string `json:"suberror"`
	Codes        []int  `json:"error_codes"`
	TraceID      string `json:"trace_id"`
	Correlation  string `json:"correlation_id"`
	ErrorURI     string `json:"error_uri"`
	fields       map[string]any
}

// form makes url.Values of pairs.
func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func with(v url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func appForm() url.Values {
	return form("grant_type", "client_credentials", "client_id", webApp, "client_secret", secret, "scope", graph)
}

func post(t testing.TB, s *entratest.Server, tenant string, v url.Values) tokenAnswer {
	t.Helper()
	a, err := tryPost(t.Context(), s, tenant, v)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func tryPost(ctx context.Context, s *entratest.Server, tenant string, v url.Values) (tokenAnswer, error) {
	var a tokenAnswer
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Authority(tenant)+"/oauth2/v2.0/token",
		strings.NewReader(v.Encode()))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	a.status, a.header, a.raw = resp.StatusCode, resp.Header, string(body)
	_ = json.Unmarshal(body, &a)        // not all answers are JSON
	_ = json.Unmarshal(body, &a.fields) // likewise
	return a, nil
}

// signIn gets tokens for a user at the desktop app, by the password grant, which is shortest.
func signIn(t testing.TB, s *entratest.Server, scope string) tokenAnswer {
	t.Helper()
	a := post(t, s, tenant, form("grant_type", "password", "client_id", desktop, "username", ada.Username,
		"password", ada.Password, "scope", scope, "client_info", "1"))
	if a.status != http.StatusOK {
		t.Fatalf("sign-in: %s", a.raw)
	}
	return a
}

func refreshForm(token string) url.Values {
	return form("grant_type", "refresh_token", "client_id", desktop, "refresh_token", token, "scope",
		"User.Read openid profile offline_access", "client_info", "1")
}

func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	var claims map[string]any
	if err := json.Unmarshal(decode64(t, parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
