package apiclient_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/msal-redis/msal-redis-go/apiclient"
)

const (
	resource  = "https://api.example.com"
	claimsDoc = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
)

// credential gives token after token: a new one for each request with claims.
type credential struct {
	mu    sync.Mutex
	n     int
	asked []policy.TokenRequestOptions
	err   error
}

func (c *credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if ctx.Err() != nil {
		return azcore.AccessToken{}, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return azcore.AccessToken{}, c.err
	}
	if o.Claims != "" {
		c.n++
	}
	c.asked = append(c.asked, o)
	return azcore.AccessToken{Token: fmt.Sprint("token-", c.n), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (c *credential) challenged() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.asked {
		if o.Claims != "" {
			n++
		}
	}
	return n
}

// api is a server that answers for every name below example.com, and a client for one of them.
type api struct {
	*httptest.Server
	base   *http.Transport
	conns  atomic.Int64
	cred   *credential
	client *http.Client
}

func newAPI(t *testing.T, h http.HandlerFunc, change ...func(*apiclient.Options)) *api {
	t.Helper()
	a := &api{Server: httptest.NewUnstartedServer(h), cred: &credential{}}
	a.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			a.conns.Add(1)
		}
	}
	a.EnableHTTP2 = true
	a.StartTLS()
	t.Cleanup(a.Close)
	a.base = a.Client().Transport.(*http.Transport) // brings *.example.com to the server
	a.base.MaxConnsPerHost = 8
	o := &apiclient.Options{Transport: a.base, RetryDelay: time.Millisecond}
	for _, f := range change {
		f(o)
	}
	var err error
	if a.client, err = apiclient.New(resource, a.cred, o); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *api) do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return a.send(t, req)
}

func (a *api) send(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func refuse(w http.ResponseWriter, claims string) {
	header := `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", ` +
		`error="invalid_token"`
	if claims != "" {
		encoded := base64.StdEncoding.EncodeToString([]byte(claims))
		header = `Bearer realm="", error="insufficient_claims", claims="` + encoded + `"`
	}
	w.Header().Set("WWW-Authenticate", header)
	w.WriteHeader(http.StatusUnauthorized)
	io.WriteString(w, "refused")
}

func TestTokenAndRequestReachTheAPI(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.Method, " ", r.Header.Get("Authorization"), " ", r.Header.Get("Content-Type"), " ", r.ContentLength,
			" ", string(body), " ", r.Proto)
	})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPatch, resource+"/x", strings.NewReader("payload"))
	req.Header.Set("Content-Type", "text/csv")
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, _ := io.ReadAll(resp.Body)
	if want := "PATCH Bearer token-0 text/csv 7 payload HTTP/2.0"; string(got) != want {
		t.Errorf("the API saw %q, want %q", got, want)
	}
	if req.Header.Get("Authorization") != "" || resp.Request.Header.Get("Authorization") != "" {
		t.Error("the caller's request, or the answer's, carries the token")
	}
	if o := a.cred.asked[0]; len(o.Scopes) != 1 || o.Scopes[0] != resource+"/.default" || !o.EnableCAE {
		t.Errorf("the credential was asked for %+v", o)
	}
}

// A large answer is streamed: its beginning is read while the API still writes. So is an error's.
func TestAnswersAreStreamed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 400, 401, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) { testAnswersAreStreamed(t, status) })
	}
}

func testAnswersAreStreamed(t *testing.T, status int) {
	t.Parallel()
	goOn := make(chan struct{})
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-goOn
		io.WriteString(w, "last")
	})
	resp, err := a.client.Get(resource)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, b); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	rest, err := io.ReadAll(resp.Body)
	if string(b) != "first" || string(rest) != "last" || err != nil {
		t.Errorf("%q, %q, %v", b, rest, err)
	}
}

// The token goes nowhere but to its origin: not to another host, a subdomain, a parent, another port, plain HTTP, a
// host that merely begins so; nor there by a redirect.
func TestTokenIsForItsOriginOnly(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprint(w, r.Header.Get("Authorization"))
	})
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"))
	}))
	t.Cleanup(plain.Close)
	for _, address := range []string{
		"https://other.example.com/",
		"https://sub.api.example.com/",
		"https://example.com/",
		"https://api.example.com.example.com/",
		"https://api.example.com@other.example.com/",
		a.URL,
		plain.URL,
	} {
		if strings.Contains(address, "sub.api") || strings.Contains(address, "com.example.com") {
			a.base.TLSClientConfig.InsecureSkipVerify = true // names two levels below the certificate's
		}
		if _, got := a.do(t, http.MethodGet, address, ""); strings.Contains(got, "token") {
			t.Errorf("%s was sent a token", address)
		}
		if _, got := a.do(t, http.MethodPost, resource+"/?to="+address, "payload"); strings.Contains(got, "token") {
			t.Errorf("a redirect to %s was sent a token", address)
		}
	}
	for _, address := range []string{"https://API.example.com/", "https://api.example.com:443/", resource + "/?to=/again",
		resource + "/?to=https://api.example.com:443/"} {
		if _, got := a.do(t, http.MethodGet, address, ""); got != "Bearer token-0" {
			t.Errorf("%s: Authorization %q, want the token", address, got)
		}
	}
}

// A claims challenge is answered by a token for these claims and one repetition, with the body; the second refusal is
// the caller's.
func TestClaimsChallengeIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		sent.Add(1)
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/never" || r.Header.Get("Authorization") == "Bearer token-0" {
			refuse(w, claimsDoc)
			return
		}
		w.Write(body)
	})
	if status, body := a.do(t, http.MethodPost, resource, "payload"); status != 200 || body != "payload" {
		t.Errorf("status %d, body %q, want the payload's echo", status, body)
	}
	if n := sent.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	if last := a.cred.asked[len(a.cred.asked)-1]; last.Claims != claimsDoc {
		t.Errorf("the credential was asked for claims %q", last.Claims)
	}
	sent.Store(0)
	if status, body := a.do(t, http.MethodGet, resource+"/never", ""); status != 401 ||
		body != "refused" || sent.Load() != 2 {
		t.Errorf("status %d, body %q after %d requests, want the second refusal", status, body, sent.Load())
	}
}

// 401 without claims, RFC 6750: repeated only if the credential has another token by then.
func TestUnauthorizedWithoutClaims(t *testing.T) {
	t.Parallel()
	var a *api
	var sent atomic.Int64
	a = newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		sent.Add(1)
		if r.URL.Path == "/renewed" {
			a.cred.mu.Lock()
			a.cred.n = 1 // another instance has renewed it
			a.cred.mu.Unlock()
		}
		if r.Header.Get("Authorization") == "Bearer token-0" {
			refuse(w, "")
		}
	})
	if status, _ := a.do(t, http.MethodGet, resource, ""); status != 401 || sent.Load() != 1 {
		t.Errorf("no newer token: status %d after %d requests, want 401 after 1", status, sent.Load())
	}
	if status, _ := a.do(t, http.MethodGet, resource+"/renewed", ""); status != 200 || sent.Load() != 3 {
		t.Errorf("a newer token: status %d after %d requests, want 200 after 3", status, sent.Load())
	}
}

// Of 200 requests refused at once none is repeated with the refused token, and those refused later ask for no other.
func TestManyChallengesAtOnce(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-0" {
			refuse(w, claimsDoc)
		}
	})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if status, _ := a.do(t, http.MethodGet, resource, ""); status != 200 {
				t.Errorf("status %d", status)
			}
		})
	}
	wg.Wait()
	before := a.cred.challenged()
	if status, _ := a.do(t, http.MethodGet, resource, ""); status != 200 || a.cred.challenged() != before {
		t.Error("a later request was challenged again")
	}
}

func TestThrottlingAndRetries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, method string
		status       int
		retryAfter   string
		key          bool
		stream       bool // a body that cannot be had again
		sent, want   int
	}{
		{name: "429, GET", method: "GET", status: 429, retryAfter: "1", sent: 2, want: 200},
		{name: "429 without Retry-After, GET", method: "GET", status: 429, sent: 2, want: 200},
		{name: "429, POST", method: "POST", status: 429, sent: 2, want: 200},
		{name: "429, POST of a stream", method: "POST", status: 429, stream: true, sent: 1, want: 429},
		{name: "503 with Retry-After, GET", method: "GET", status: 503, retryAfter: "1", sent: 2, want: 200},
		{name: "503, POST", method: "POST", status: 503, sent: 1, want: 503},
		{name: "503, POST with a key", method: "POST", status: 503, key: true, sent: 2, want: 200},
		{name: "502, PUT", method: "PUT", status: 502, sent: 2, want: 200},
		{name: "500, GET", method: "GET", status: 500, sent: 1, want: 500},
		{name: "404, GET", method: "GET", status: 404, sent: 1, want: 404},
		{name: "401 with claims, POST of a stream", method: "POST", status: 401, stream: true, sent: 1, want: 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); r.Method != "GET" && string(body) != "payload" {
					t.Errorf("attempt %d has body %q", sent.Load()+1, body)
				}
				if sent.Add(1) > 1 {
					return
				}
				if test.status == 401 {
					refuse(w, claimsDoc)
					return
				}
				if test.retryAfter != "" {
					w.Header().Set("Retry-After", test.retryAfter)
				}
				w.WriteHeader(test.status)
			})
			var body io.Reader
			if test.method != "GET" {
				body = bytes.NewReader([]byte("payload"))
			}
			if test.stream {
				body = io.MultiReader(body)
			}
			req, _ := http.NewRequestWithContext(t.Context(), test.method, resource, body)
			if test.key {
				req.Header.Set("Idempotency-Key", "1")
			}
			start := time.Now()
			status, _ := a.send(t, req)
			if status != test.want || int(sent.Load()) != test.sent {
				t.Errorf("status %d after %d requests, want %d after %d", status, sent.Load(), test.want, test.sent)
			}
			if took := time.Since(start); test.retryAfter != "" && took < time.Second {
				t.Errorf("repeated after %v, Retry-After is 1 s", took)
			}
		})
	}
}

// A wait that the caller's context would not outlive is not begun: the caller has the API's answer instead, and at
// once.
func TestNoWaitBeyondTheCallersContext(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"3600", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), ""} {
		a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(w, "slow down")
		}, func(o *apiclient.Options) { o.RetryDelay, o.MaxRetryDelay = time.Hour, 24*time.Hour })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, resource, nil)
		start := time.Now()
		status, body := a.send(t, req)
		if status != 429 || body != "slow down" || time.Since(start) > 30*time.Second {
			t.Errorf("Retry-After %q: status %d, body %q after %v", after, status, body, time.Since(start))
		}
	}
	// One that leaves while it waits leaves.
	asked := make(chan struct{}, 1)
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusServiceUnavailable)
		asked <- struct{}{}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, resource, nil)
	if _, err := a.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: %v", err)
	}
}

// A connection that breaks is another attempt for what is idempotent, and an error for what is not.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if sent.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
	})
	if status, _ := a.do(t, http.MethodPut, resource, "payload"); status != 200 || sent.Load() != 2 {
		t.Errorf("PUT: status %d after %d requests", status, sent.Load())
	}
	sent.Store(0)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, resource, strings.NewReader("payload"))
	if _, err := a.client.Do(req); err == nil || sent.Load() != 1 {
		t.Errorf("POST: error %v after %d requests, want an error after 1", err, sent.Load())
	}
}

func TestNoToken(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	a := newAPI(t, func(http.ResponseWriter, *http.Request) { sent.Add(1) })
	a.cred.err = errors.New("AADSTS700016")
	body := &closed{Reader: strings.NewReader("payload")}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, resource, body)
	if _, err := a.client.Do(req); !errors.Is(err, a.cred.err) || sent.Load() != 0 {
		t.Errorf("error %v after %d requests, want the credential's, and none", err, sent.Load())
	}
	if !body.closed.Load() {
		t.Error("the request's body was not closed")
	}
}

type closed struct {
	io.Reader
	closed atomic.Bool
}

func (c *closed) Close() error { c.closed.Store(true); return nil }

func TestNewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, resource := range []string{"http://api.example.com", "api.example.com", "", "%"} {
		if _, err := apiclient.New(resource, &credential{}, nil); err == nil || !strings.Contains(err.Error(), "resource") {
			t.Errorf("%q: %v", resource, err)
		}
	}
	if _, err := apiclient.New(resource, nil, nil); err == nil {
		t.Error("no error without a credential")
	}
	if _, err := apiclient.New(resource, &credential{}, &apiclient.Options{MaxConnsPerHost: -1}); err == nil {
		t.Error("no error with a negative MaxConnsPerHost")
	}
}

// Of names that are not ASCII the token goes to the one that net/http asks, and to none that merely has the same small
// letters: İ is not i to DNS, nor ẞ what ß is.
func TestTokenForANameThatIsNotASCII(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		resource, address, dialled string
		sent                       bool
	}{
		{"https://api.example.com", "https://apİ.example.com/", "xn--api-bec.example.com:443", false},
		{"https://api.example.com", "https://ap%C4%B0.example.com/", "xn--api-bec.example.com:443", false},
		{"https://api.example.com", "https://apı.example.com/", "xn--ap-ipa.example.com:443", false},
		{"https://straße.example.com", "https://STRAẞE.example.com/", "strasse.example.com:443", false},
		{"https://bücher.example.com", "https://bucher.example.com/", "bucher.example.com:443", false},
		{"https://bücher.example.com", "https://bücher.EXAMPLE.com/", "xn--bcher-kva.example.com:443", true},
		{"https://bücher.example.com", "https://b%C3%BCcher.example.com:443/", "xn--bcher-kva.example.com:443", true},
		{"https://xn--bcher-kva.example.com", "https://XN--BCHER-KVA.example.com/", "XN--BCHER-KVA.example.com:443", true},
	} {
		var authorization, dialled string
		base := &http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			dialled = addr
			return nil, net.ErrClosed
		}}
		client, err := apiclient.New(test.resource, &credential{},
			&apiclient.Options{MaxRetries: -1, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				authorization = r.Header.Get("Authorization")
				return base.RoundTrip(r)
			})})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Get(test.address); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if dialled != test.dialled || (authorization != "") != test.sent {
			t.Errorf("%s, of %s: dialled %s, Authorization %q", test.address, test.resource, dialled, authorization)
		}
	}
}

// What net/http refuses to send is refused by net/http, and does not end the process.
func TestRequestsThatAreNone(t *testing.T) {
	t.Parallel()
	client, err := apiclient.New(resource, &credential{}, &apiclient.Options{RetryDelay: -1})
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(resource)
	for name, r := range map[string]*http.Request{"no URL": {Header: http.Header{}}, "no header": {URL: u}} {
		_, want := http.DefaultTransport.RoundTrip(r)
		if _, err := client.Transport.RoundTrip(r); err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("%s: %v, net/http says %v", name, err, want)
		}
	}
}

// What the application has put into http.DefaultTransport is used; without a transport there, New makes its own. Not
// parallel: no other test runs beside it.
func TestDefaultTransportIsTheApplications(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	was := http.DefaultTransport
	defer func() { http.DefaultTransport = was }()
	asked := 0
	trusting := server.Client().Transport.(*http.Transport)
	for name, test := range map[string]struct {
		transport http.RoundTripper
		ours      int
		answered  bool
	}{
		"an *http.Transport": {trusting, 0, true},
		"another": {roundTripper(func(r *http.Request) (*http.Response, error) {
			asked++
			return trusting.RoundTrip(r)
		}), 1, true},
		// These do not trust the server's certificate.
		"nil":                   {nil, 0, false},
		"a nil *http.Transport": {(*http.Transport)(nil), 0, false},
	} {
		http.DefaultTransport, asked = test.transport, 0
		client, err := apiclient.New(server.URL, &credential{}, &apiclient.Options{MaxRetries: -1})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(server.URL)
		if err == nil {
			resp.Body.Close()
		}
		var untrusted *tls.CertificateVerificationError
		if asked != test.ours || (err == nil) != test.answered || err != nil && !errors.As(err, &untrusted) {
			t.Errorf("%s: asked %d times, %v", name, asked, err)
		}
		client.CloseIdleConnections()
	}
}
