package gate_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// first matches one request only.
func first() func(entratest.Request) bool {
	var seen atomic.Bool
	return func(entratest.Request) bool { return seen.CompareAndSwap(false, true) }
}

const challenge = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`

// stampede has 16 callers on two instances wait in the gate for one request, and returns what they get.
func stampede(t *testing.T, w *harness.World, f func(i int) (confidential.AuthResult, error)) []harness.CallResult {
	t.Helper()
	d := w.Door()
	outs := harness.StartCalls(16, f)
	d.Wait(t)
	harness.InGate(t, 16)
	w.LeaseWaiters(t, 1)
	d.Open()
	return harness.CollectCalls(t, 16, outs)
}

// responses are the kept answers, as they stand in Redis.
func responses(w *harness.World) map[string]string {
	w.T.Helper()
	all := map[string]string{}
	for _, key := range w.KeysLike(":response") {
		all[key] = w.Redis.Admin.Get(context.Background(), key).Val()
	}
	return all
}

// comparable is an error's text without the tokens in the body that MSAL quotes, which differ.
func comparable(w *harness.World, err error) string {
	text := fmt.Sprint(err)
	for _, s := range w.Entra.Secrets() {
		text = strings.ReplaceAll(text, s, "")
	}
	return text
}

// Azure SDK credentials share through the gate alone: two processes, one token request.
func TestAzureSDKCredentialsInTwoProcessesOneRequest(t *testing.T) {
	w := harness.NewWorld(t)
	cert, key := harness.SelfSigned(t)
	w.Entra.AddApp(entratest.App{ClientID: harness.ClientID, Secret: harness.ClientSecret, Certificate: cert})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	ps := w.Processes(2)
	for _, op := range []string{"azsecret", "azcert"} {
		w.Entra.ResetRequests()
		o := harness.Order{Op: op, Scopes: []string{harness.GraphScope}, CertPEM: bundle, N: 8}
		harness.SameToken(t, harness.DoAll(ps, o))
		w.Count(t, 1, op+" at once")
		o.Scopes = []string{harness.DynamicsScope}
		harness.SameToken(t, []harness.Outcome{ps[0].Do(o), ps[1].Do(o)})
		w.Count(t, 2, op+" one after the other")
	}
}

// Key-bound requests, and client credentials proven by TLS, pass untouched: each reaches the server as it was sent.
func TestRequestsThatCannotBeSharedPassUntouched(t *testing.T) {
	type sent struct {
		body   string
		header http.Header
	}
	var mu sync.Mutex
	var seen []sent
	const reply = `{ "token_type":"pop", "expires_in":3600,  "access_token":"bound-to-a-key" }`
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, sent{string(body), r.Header.Clone()})
		rw.Header().Set("X-Own", fmt.Sprint(len(seen)))
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, reply)
	}))
	t.Cleanup(server.Close)
	w := harness.NewWorld(t)
	i := w.Instance()
	client := &http.Client{Transport: i.Tokens.Transport(server.Client().Transport)}
	for name, form := range map[string]url.Values{
		"req_cnf": {"grant_type": {harness.AppGrant}, "client_id": {harness.ClientID}, "client_secret": {"s"},
			"scope": {harness.GraphScope}, "req_cnf": {"eyJraWQiOiJ4In0"}},
		"token_type pop": {"grant_type": {harness.AppGrant}, "client_id": {harness.ClientID}, "client_secret": {"s"},
			"scope": {harness.GraphScope}, "token_type": {"pop"}},
		"refresh with it": {"grant_type": {harness.RefreshGrant}, "client_id": {harness.ClientID}, "refresh_token": {"r"},
			"scope": {harness.GraphScope}, "token_type": {"pop"}},
		"TLS certificate": {"grant_type": {harness.AppGrant}, "client_id": {harness.ClientID}, "scope": {harness.GraphScope}},
		"another bearer": {"grant_type": {harness.OboGrant}, "client_id": {harness.ClientID}, "assertion": {"a"},
			"scope": {harness.GraphScope}},
		"no grant": {"client_id": {harness.ClientID}},
	} {
		t.Run(name, func(t *testing.T) {
			seen = nil
			for n := 1; n <= 2; n++ {
				req, err := http.NewRequest(http.MethodPost, server.URL+"/"+harness.Tenant+"/oauth2/v2.0/token",
					strings.NewReader(form.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("Client-Request-Id", fmt.Sprint(n))
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != reply || resp.Header.Get("X-Own") != fmt.Sprint(n) {
					t.Errorf("answer %d: %v %s %v", n, err, body, resp.Header)
				}
				if len(seen) != n || seen[n-1].body != form.Encode() || seen[n-1].header.Get("Client-Request-Id") != fmt.Sprint(n) {
					t.Fatalf("request %d has not reached the server as it was sent: %v", n, seen)
				}
			}
		})
	}
	for _, key := range w.KeysOf() {
		if strings.Contains(key, ":response") {
			t.Errorf("%s: an answer that is nobody else's was stored", key)
		}
	}
}
