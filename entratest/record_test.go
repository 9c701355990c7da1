package entratest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/msal-redis/msal-redis-go/entratest"
)

func tlsConfig(s *entratest.Server) *tls.Config { return &tls.Config{RootCAs: s.CertPool()} }

// barrier holds token requests on arrival until n have come.
func barrier(t testing.TB, s *entratest.Server, n int) (remove func()) {
	t.Helper()
	var arrived atomic.Int64
	open := make(chan struct{})
	return s.OnTokenRequest(func(entratest.Request) {
		if arrived.Add(1) == int64(n) {
			close(open)
		}
		<-open
	})
}

func TestRecord(t *testing.T) {
	s := start(t, nil)
	before := time.Now()
	post(t, s, tenant, with(appForm(), "scope", "openid B.Write/.default  offline_access profile", "client_id",
		strings.ToUpper(webApp)))
	post(t, s, tenant, with(appForm(), "client_secret", "wrong"))
	r := s.Requests()
	if len(r) != 2 || r[0].ID != 1 || r[1].ID != 2 {
		t.Fatalf("%+v", r)
	}
	if r[0].Scope != "b.write/.default" || r[0].RawScope != "openid B.Write/.default  offline_access profile" ||
		r[0].Grant != "client_credentials" || r[0].Tenant != tenant {
		t.Errorf("%+v", r[0])
	}
	if r[0].Status != 200 || r[0].Error != "" || r[1].Status != 401 || r[1].Error != "AADSTS7000215" {
		t.Errorf("%+v", r)
	}
	if r[0].Arrived.Before(before) || r[0].Answered.Before(r[0].Arrived) || r[1].Arrived.Before(r[0].Answered) {
		t.Errorf("times: %v to %v, %v", r[0].Arrived, r[0].Answered, r[1].Arrived)
	}
	if r[1].Form.Get("client_secret") != "wrong" {
		t.Errorf("form %v", r[1].Form)
	}
	if n := s.Count(); n != 2 {
		t.Errorf("Count() = %d", n)
	}
	if n := s.Count(entratest.ByClient(webApp)); n != 2 {
		t.Errorf("by client: %d", n)
	}
	for name, match := range map[string]func(entratest.Request) bool{
		"scope": entratest.ByScope(graph + " profile"), "grant and scope": entratest.ByScope("B.WRITE/.default"),
	} {
		if n := s.Count(entratest.ByGrant("client_credentials"), entratest.ByTenant("CONTOSO.onmicrosoft.com"),
			match); n != 1 {
			t.Errorf("by %s: %d", name, n)
		}
	}
	if n := s.Count(entratest.ByScope("c")) + s.Count(entratest.ByGrant("x")) + s.Count(entratest.ByUser("u")) + s.Count(
		entratest.ByTenant("t")); n != 0 {
		t.Errorf("matchers match what they should not: %d", n)
	}
	s.ResetRequests()
	post(t, s, tenant, with(appForm(), "scope", "User.Read mail.read User.read"))
	if n := s.Count(entratest.ByScope("user.read Mail.Read")); n != 1 {
		t.Errorf("the order of scopes counts")
	}
	if r := s.Requests(); len(r) != 1 || r[0].ID != 3 {
		t.Errorf("after ResetRequests: %+v", r)
	}
}

// Three at once, then one alone.
func TestConcurrent(t *testing.T) {
	s := start(t, nil)
	remove := barrier(t, s, 3)
	var wg sync.WaitGroup
	for _, scope := range []string{graph, graph, crm} {
		wg.Go(func() {
			if _, err := tryPost(t.Context(), s, tenant, with(appForm(), "scope", scope)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	remove()
	post(t, s, tenant, appForm())
	if n := s.MaxConcurrent(); n != 3 {
		t.Errorf("MaxConcurrent() = %d, want 3", n)
	}
	if n := s.MaxConcurrent(entratest.ByScope(graph)); n != 2 {
		t.Errorf("MaxConcurrent(graph) = %d, want 2", n)
	}
	if diff := cmp.Diff([][2]int{{1, 2}, {1, 3}, {2, 3}}, s.Concurrent()); diff != "" {
		t.Error(diff)
	}
}

// One after the other is not at once, however close.
func TestSequentialIsNotConcurrent(t *testing.T) {
	s := start(t, nil)
	for range 50 {
		post(t, s, tenant, appForm())
	}
	if n, pairs := s.MaxConcurrent(), s.Concurrent(); n != 1 || len(pairs) != 0 {
		t.Errorf("MaxConcurrent() = %d, Concurrent() = %v", n, pairs)
	}
}

// 256 at once are answered, each with a token of its own.
func TestManyAtOnce(t *testing.T) {
	s := start(t, nil)
	const n = 256
	// One request first: 256 on a cold transport are 256 TLS handshakes, which is not what is tested.
	post(t, s, tenant, appForm())
	s.ResetRequests()
	defer barrier(t, s, n)()
	var mu sync.Mutex
	tokens := map[string]bool{}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			a, err := tryPost(t.Context(), s, tenant, appForm())
			if err != nil || a.status != http.StatusOK {
				t.Errorf("%v %s", err, a.raw)
			}
			mu.Lock()
			defer mu.Unlock()
			tokens[a.AccessToken] = true
		})
	}
	wg.Wait()
	if len(tokens) != n || s.MaxConcurrent() != n {
		t.Errorf("%d tokens, %d at once, want %d", len(tokens), s.MaxConcurrent(), n)
	}
}

func TestLatency(t *testing.T) {
	s := start(t, nil)
	const latency = 30 * time.Millisecond
	s.SetBehavior(func(b *entratest.Behavior) { b.Latency = latency })
	for _, v := range []string{secret, "wrong"} {
		began := time.Now()
		a := post(t, s, tenant, with(appForm(), "client_secret", v))
		if took := time.Since(began); took < latency || (a.status == http.StatusOK) != (v == secret) {
			t.Errorf("%s after %v", a.raw, took)
		}
	}
}

// Latency comes after the effect: who leaves meanwhile has used up the token.
func TestLatencyComesAfterTheEffect(t *testing.T) {
	s := start(t, &entratest.Config{RotateRefreshTokens: true})
	token := signIn(t, s, "User.Read offline_access").RefreshToken
	s.SetBehavior(func(b *entratest.Behavior) { b.Latency = time.Hour })
	effective := make(chan struct{})
	s.AddFault(entratest.Fault{Times: 1, Transform: func(body []byte) []byte {
		close(effective)
		return body
	}})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := tryPost(ctx, s, tenant, refreshForm(token))
		gone <- err
	}()
	<-effective
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s.SetBehavior(func(b *entratest.Behavior) { b.Latency = 0 })
	if a := post(t, s, tenant, refreshForm(token)); a.Error != "invalid_grant" {
		t.Errorf("%s", a.raw)
	}
	if err := s.Close(); err != nil { // which waits for the first request's handler
		t.Fatal(err)
	}
	if r := s.Requests(); r[1].Error != "client left" || r[1].Status != 0 {
		t.Errorf("%+v", r[1])
	}
}

// Another process reads the records over HTTP, without what was secret in them.
func TestRequestsOverHTTP(t *testing.T) {
	s := start(t, nil)
	post(t, s, tenant, appForm())
	var got []entratest.Request
	getJSON(t, s, s.URL()+"/entratest/requests", &got)
	want := s.Requests()
	want[0].Form = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(got) != 1 || got[0].Status != 200 {
		t.Errorf("%+v", got)
	}
}

// Everything secret is known to Secrets, and nothing secret is in the log or the records' JSON.
func TestSecrets(t *testing.T) {
	var log lockedBuffer
	s := start(t, &entratest.Config{Logger: slog.New(
		slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	c := secretClient(t, s, webApp, secret)
	got := authCode(t, s, c, []string{"User.Read"})
	a := signIn(t, s, "User.Read openid offline_access")
	r := post(t, s, tenant, refreshForm(a.RefreshToken))
	signed := assertion(t, s, nil)
	post(t, s, tenant, assertionForm(signed))
	post(t, s, tenant, with(appForm(), "client_secret", "a-wrong-secret"))
	secrets := s.Secrets()
	for name, want := range map[string]string{
		"client secret": secret, "access token": got.AccessToken, "id token": got.IDToken.RawToken, "password": ada.Password,
		"refresh token": a.RefreshToken, "its successor": r.RefreshToken, "client assertion": signed,
		"wrong secret": "a-wrong-secret", "code": s.Requests()[0].Form.Get("code"),
		"verifier": s.Requests()[0].Form.Get("code_verifier"),
	} {
		if want == "" || !slices.Contains(secrets, want) {
			t.Errorf("%s is missing", name)
		}
	}
	text := log.String()
	if !strings.Contains(text, "AADSTS7000215") {
		t.Errorf("the log has no requests: %s", text)
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Error("a secret is in the log")
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A removed hook is not called again; what it saw was there before anything happened.
func TestOnTokenRequest(t *testing.T) {
	s := start(t, nil)
	var seen []entratest.Request
	remove := s.OnTokenRequest(func(r entratest.Request) { seen = append(seen, r) })
	post(t, s, tenant, appForm())
	remove()
	remove()
	post(t, s, tenant, appForm())
	if len(seen) != 1 || seen[0].ID != 1 || seen[0].Status != 0 || !seen[0].Answered.IsZero() {
		t.Errorf("%+v", seen)
	}
}

// A redemption that is under way while the user is revoked brings a token that is dead.
func TestRevocationDuringRefresh(t *testing.T) {
	s := start(t, nil)
	a := signIn(t, s, "User.Read offline_access")
	remove := s.AddFault(entratest.Fault{Transform: func(body []byte) []byte {
		s.RevokeUser(ada.HomeAccountID()) // after the effect, before the answer
		return body
	}})
	r := post(t, s, tenant, refreshForm(a.RefreshToken))
	remove()
	if r.status != http.StatusOK {
		t.Fatal(r.raw)
	}
	if r := post(t, s, tenant, refreshForm(r.RefreshToken)); !slices.Equal(r.Codes, []int{50173}) {
		t.Errorf("%s", r.raw)
	}
}
