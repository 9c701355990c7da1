package harness

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

const (
	ClientID     = "11111111-aaaa-4bbb-8ccc-000000000001"
	ClientSecret = "the-client's-secret-that-is-nowhere-else"
	PublicID     = "22222222-aaaa-4bbb-8ccc-000000000002"
	Tenant       = entratest.DefaultTenant
	RedirectURI  = "http://localhost:5000/signin"
	GraphScope   = "https://graph.microsoft.com/.default"
	UserScope    = "https://graph.microsoft.com/User.Read"
	MailScope    = "https://graph.microsoft.com/Mail.Read"
	// Of resources of their own: a token of a resource is for all of its scopes that the user has consented to.
	VaultScope = "https://vault.azure.net/user_impersonation"
	CrmScope   = "https://org.crm4.dynamics.com/user_impersonation"
)

const (
	FilesScope    = "https://graph.microsoft.com/Files.Read"
	CalendarScope = "https://graph.microsoft.com/Calendars.Read"
	DynamicsScope = "https://org.crm4.dynamics.com/.default"
	RefreshGrant  = "refresh_token"
	AppGrant      = "client_credentials"
	OboGrant      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// SelfSigned makes a certificate for client assertions.
func SelfSigned(t testing.TB) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (w *World) AddUsers(n int) []entratest.User {
	var users []entratest.User
	for i := range n {
		u := entratest.User{ObjectID: fmt.Sprintf("%08d-0000-4000-8000-00000000000a",
			i), TenantID: Tenant, Username: fmt.Sprintf("user%d@contoso.com", i), Name: "A User"}
		w.Entra.AddUser(u)
		users = append(users, u)
		Canary.User(u)
	}
	return users
}

func ManyAccount(n int) string { return fmt.Sprintf("user%d.%s", n, Tenant) }

// ManyAccounts are entries of accounts of a client, as MSAL writes them.
func ManyAccounts(t *testing.T, client string, environments map[int][]string, users ...int) []byte {
	t.Helper()
	all := map[string]map[string]map[string]string{"AccessToken": {}, "RefreshToken": {}, "Account": {}}
	for _, n := range users {
		for _, host := range environments[n] {
			home := ManyAccount(n)
			entry := func(kind string, more ...string) map[string]string {
				e := map[string]string{"home_account_id": home, "environment": host, "client_id": client,
					"credential_type": kind, "secret": kind + " of " + home}
				for i := 0; i < len(more); i += 2 {
					e[more[i]] = more[i+1]
				}
				return e
			}
			now := time.Now()
			name := home + "-" + host + "-accesstoken-" + client + "-" + Tenant + "-s"
			all["AccessToken"][name] = entry("AccessToken", "realm", Tenant, "target", "s",
				"cached_at", fmt.Sprint(now.Unix()), "expires_on", fmt.Sprint(now.Add(time.Hour).Unix()), "token_type", "Bearer")
			all["RefreshToken"][home+"-"+host+"-refreshtoken-"+client] = entry("RefreshToken")
			all["Account"][home+"-"+host+"-"+Tenant] = map[string]string{
				"home_account_id": home, "environment": host, "realm": Tenant,
				"local_account_id": fmt.Sprint(n), "username": fmt.Sprint(n), "authority_type": "MSSTS"}
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TenantName(n int) string { return fmt.Sprintf("%08d-1111-4222-8333-00000000000d", n) }

func (w *World) Assertion(t *testing.T, u entratest.User) string {
	t.Helper()
	assertion, err := w.Entra.UserToken(ClientID, u.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	return assertion
}

func (w *World) Rotating() {
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RotateRefreshTokens = true })
}
