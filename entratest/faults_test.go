package entratest_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"

	"github.com/msal-redis/msal-redis-go/entratest"
)

func TestFaultStatus(t *testing.T) {
	s := start(t, nil)
	c := secretClient(t, s, webApp, secret)
	s.AddFault(entratest.Fault{Times: 1, Status: http.StatusTooManyRequests, RetryAfter: "17"})
	_, err := c.AcquireTokenByCredential(t.Context(), []string{graph})
	var call msalerrors.CallErr
	if !errors.As(err, &call) || call.Resp.StatusCode != http.StatusTooManyRequests ||
		call.Resp.Header.Get("Retry-After") != "17" {
		t.Fatalf("429: %v", err)
	}
	if _, err := c.AcquireTokenByCredential(t.Context(), []string{graph}); err != nil {
		t.Errorf("the fault was for one request: %v", err)
	}
	if r := s.Requests(); len(r) != 2 || r[0].Status != 429 || r[0].Error != "fault: 429" || r[1].Status != 200 {
		t.Errorf("records: %+v", r)
	}
}

func TestFaultBodies(t *testing.T) {
	s := start(t, nil)
	for name, tt := range map[string]struct {
		fault       entratest.Fault
		status      int
		contentType string
		body        string
	}{
		"429": {entratest.Fault{Status: 429}, 429, "application/json; charset=utf-8", "AADSTS90055"},
		"503": {entratest.Fault{Status: 503}, 503, "application/json; charset=utf-8", "temporarily_unavailable"},
		"502": {entratest.Fault{Status: 502}, 502, "text/html; charset=utf-8", "<html>"},
		"400": {entratest.Fault{Status: 400}, 400, "application/json; charset=utf-8", "invalid_request"},
		"401": {entratest.Fault{Status: 401}, 401, "application/json; charset=utf-8", "invalid_client"},
		"text": {entratest.Fault{Status: 429, Body: "slow down", ContentType: "text/plain"}, 429,
			"text/plain", "slow down"},
		"status 200":   {entratest.Fault{Body: "<html>captive portal"}, 200, "text/html; charset=utf-8", "captive portal"},
		"empty object": {entratest.Fault{Status: 200}, 200, "application/json; charset=utf-8", "{}"},
		"own error": {entratest.Fault{Status: 400, Body: entratest.ErrorBody("interaction_required", 50076, "MFA please.")},
			400, "application/json; charset=utf-8", `"interaction_required","error_description":"AADSTS50076: MFA please.`},
		"content type only": {entratest.Fault{ContentType: "text/html"}, 200, "text/html", `"access_token"`},
		"transform": {entratest.Fault{Transform: func(b []byte) []byte { return b[:len(b)/2] }},
			200, "application/json; charset=utf-8", `{"token_type":"Bearer"`},
	} {
		t.Run(name, func(t *testing.T) {
			defer s.AddFault(tt.fault)()
			a := post(t, s, tenant, appForm())
			if a.status != tt.status || a.header.Get("Content-Type") != tt.contentType || !strings.Contains(a.raw, tt.body) {
				t.Errorf("%d %q %s", a.status, a.header.Get("Content-Type"), a.raw)
			}
			if name == "transform" && a.fields != nil {
				t.Error("the answer was not cut")
			}
		})
	}
	if a := post(t, s, tenant, appForm()); a.status != 200 || a.AccessToken == "" {
		t.Errorf("a removed fault goes on: %s", a.raw)
	}
}

// First added, first used; Match and Times count.
func TestFaultOrder(t *testing.T) {
	s := start(t, nil)
	s.AddFault(entratest.Fault{Match: entratest.ByScope(crm), Times: 2, Status: 500})
	s.AddFault(entratest.Fault{Match: entratest.ByScope(crm), Times: 1, Status: 503})
	var got []int
	for _, scope := range []string{graph, crm, graph, crm, crm, crm} {
		got = append(got, post(t, s, tenant, with(appForm(), "scope", scope)).status)
	}
	if !slices.Equal(got, []int{200, 500, 200, 500, 503, 200}) {
		t.Errorf("%v", got)
	}
}

func TestFaultMatchesUser(t *testing.T) {
	s := start(t, nil)
	a := signIn(t, s, "User.Read offline_access")
	assertion, err := s.UserToken(api, bob.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	obo := form("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use", "on_behalf_of",
		"client_id", api, "client_secret", secret, "scope", graph, "assertion", assertion)
	defer s.AddFault(entratest.Fault{Match: entratest.ByUser(ada.HomeAccountID()), Status: 418})()
	defer s.AddFault(entratest.Fault{Match: entratest.ByUser(bob.HomeAccountID()), Status: 419})()
	if r := post(t, s, tenant, refreshForm(a.RefreshToken)); r.status != 418 {
		t.Errorf("ada's refresh: %d", r.status)
	}
	if r := post(t, s, tenant, obo); r.status != 419 {
		t.Errorf("bob's on-behalf-of: %d", r.status)
	}
	if r := post(t, s, tenant, appForm()); r.status != 200 {
		t.Errorf("no user: %d", r.status)
	}
}

func TestFaultHang(t *testing.T) {
	s := start(t, nil)
	s.AddFault(entratest.Fault{Times: 1, Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	arrived := make(chan struct{})
	remove := s.OnTokenRequest(func(entratest.Request) { close(arrived) })
	failed := make(chan error)
	go func() {
		_, err := tryPost(ctx, s, tenant, appForm())
		failed <- err
	}()
	<-arrived
	remove()
	// Others are answered meanwhile.
	for range 3 {
		if a := post(t, s, tenant, appForm()); a.status != 200 {
			t.Error(a.raw)
		}
	}
	if r := s.Requests(); !r[0].Answered.IsZero() || s.MaxConcurrent() != 2 {
		t.Errorf("the request does not hang: %+v, %d at once", r[0], s.MaxConcurrent())
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("hang: %v", err)
	}
}

// Close waits for a handler whose connection is gone already.
func TestCloseWaitsForHandlers(t *testing.T) {
	s := start(t, nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	s.OnTokenRequest(func(entratest.Request) {
		close(arrived)
		<-release
	})
	failed, closed := make(chan error), make(chan error, 1)
	go func() {
		_, err := tryPost(t.Context(), s, tenant, appForm())
		failed <- err
	}()
	<-arrived
	go func() { closed <- s.Close() }()
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
	// The connection is closed, the handler held.
	if resp, err := s.HTTPClient().Get(s.URL()); err == nil {
		resp.Body.Close()
		t.Error("the listener is open")
	}
	select {
	case <-closed:
		t.Error("Close did not wait")
	default:
	}
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Close ends a hung request, and waits for it: goleak would see it.
func TestCloseEndsHungRequests(t *testing.T) {
	s := start(t, nil)
	s.AddFault(entratest.Fault{Hang: true})
	const n = 32
	arrived := make(chan struct{})
	s.OnTokenRequest(func(entratest.Request) { arrived <- struct{}{} })
	failed := make(chan error, n)
	for range n {
		go func() {
			_, err := tryPost(t.Context(), s, tenant, appForm())
			failed <- err
		}()
	}
	for range n {
		<-arrived
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, r := range s.Requests() {
		if r.Error != "fault: hang" || r.Answered.IsZero() {
			t.Errorf("Close came back before request %d was over", r.ID)
		}
	}
	for range n {
		if err := <-failed; err == nil {
			t.Error("a hung request was answered")
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestFaultDrop(t *testing.T) {
	s := start(t, &entratest.Config{RotateRefreshTokens: true})
	token := signIn(t, s, "User.Read offline_access").RefreshToken
	s.AddFault(entratest.Fault{Times: 1, Drop: true})
	if _, err := tryPost(t.Context(), s, tenant, refreshForm(token)); err == nil {
		t.Fatal("dropped, but answered")
	}
	// Nothing was used up: the token still works. Then it is, without anybody learning the next.
	s.AddFault(entratest.Fault{Times: 1, DropAfter: true})
	if _, err := tryPost(t.Context(), s, tenant, refreshForm(token)); err == nil {
		t.Fatal("dropped, but answered")
	}
	if a := post(t, s, tenant, refreshForm(token)); a.Error != "invalid_grant" {
		t.Errorf("after DropAfter: %s", a.raw)
	}
	if n := s.Count(entratest.ByGrant("refresh_token")); n != 3 {
		t.Errorf("%d requests arrived, want 3: the client repeated a POST", n)
	}
}

// A drop closes the connection, and Go's client does not repeat a POST on it.
func TestFaultDropOnOldConnection(t *testing.T) {
	s := start(t, nil)
	client := s.HTTPClient()
	send := func() (*http.Response, error) {
		return client.PostForm(s.Authority(tenant)+"/oauth2/v2.0/token", appForm())
	}
	resp, err := send()
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.ProtoMajor != 1 {
		t.Fatalf("protocol %s", resp.Proto)
	}
	s.AddFault(entratest.Fault{Times: 1, Drop: true})
	if resp, err := send(); err == nil {
		resp.Body.Close()
		t.Fatal("dropped, but answered")
	}
	if n := s.Count(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// A status after the fact: a gateway's time-out for a request that was granted.
func TestFaultAfter(t *testing.T) {
	s := start(t, &entratest.Config{RotateRefreshTokens: true})
	token := signIn(t, s, "User.Read offline_access").RefreshToken
	s.AddFault(entratest.Fault{Times: 1, Status: 504, After: true})
	if a := post(t, s, tenant, refreshForm(token)); a.status != 504 {
		t.Fatal(a.raw)
	}
	if a := post(t, s, tenant, refreshForm(token)); a.Error != "invalid_grant" {
		t.Errorf("the token was not used up: %s", a.raw)
	}
}
