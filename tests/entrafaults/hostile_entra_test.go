package entrafaults_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// takenOver is an Entra ID whose requests that match are answered by another server.
type takenOver struct {
	base, other http.RoundTripper
	match       func(*http.Request) bool
}

func (e takenOver) RoundTrip(req *http.Request) (*http.Response, error) {
	if e.match(req) {
		return e.other.RoundTrip(req)
	}
	return e.base.RoundTrip(req)
}
func anyDiscovery(req *http.Request) bool { return req.Method == http.MethodGet }

// instanceAt is an instance whose requests that match go to a server, over what Transport(nil) makes: the gate's own
// transport.
func instanceAt(w *harness.World, server *httptest.Server,
	match func(*http.Request) bool) (*harness.Instance, confidential.Client) {
	w.T.Helper()
	i := w.Instance()
	dial := server.Client().Transport.(*http.Transport).Clone()
	dial.DisableCompression = false
	dial.TLSClientConfig.ServerName = "example.com" // as httptest's certificate has it
	dial.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server.Listener.Addr().String())
	}
	dial.MaxResponseHeaderBytes = 64 << 10 // as TestOwnTransportIsBounded finds it in the gate's own
	w.T.Cleanup(dial.CloseIdleConnections)
	client := &http.Client{Transport: i.Tokens.Transport(takenOver{w.Entra.Transport(), dial, match})}
	return i, harness.NewApp(w.T, w.Entra.Authority(harness.Tenant), i.Tokens, client)
}

// forever writes a body of a gigabyte, or for as long as it is read.
func forever(w io.Writer, chunk []byte) {
	for range (1 << 30) / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// A token server that sends too much, in whatever way, costs a bounded amount of memory and gives an error that says
// what was wrong; nothing of it is kept, and the next answer serves.
func TestTokenServerThatSendsTooMuch(t *testing.T) {
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	var bomb bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	_, _ = zip.Write([]byte(`{"access_token":"a","expires_in":3600,"x":"`))
	for range 512 { // 32 MiB
		_, _ = zip.Write(chunk)
	}
	_ = zip.Close()
	header := func(w http.ResponseWriter, prefix string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+prefix)
		forever(conn, chunk)
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"1 GB with a length": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<30))
			forever(w, chunk)
		}, "larger than"},
		"1 GB without": {func(w http.ResponseWriter, _ *http.Request) { forever(w, chunk) }, "larger than"},
		"1 GB of an error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			forever(w, chunk)
		}, "larger than"},
		"32 MiB, compressed to little": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		}, "larger than"},
		"a header without an end": {func(w http.ResponseWriter, _ *http.Request) {
			header(w, "X-Ms-Request-Id: ")
		}, "headers exceeded"},
		"a first line without an end": {func(w http.ResponseWriter, _ *http.Request) { header(w, "") }, "header"},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			var healthy atomic.Bool
			server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				if healthy.Load() {
					http.Error(rw, `{"error":"invalid_scope"}`, http.StatusBadRequest)
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				test.answer(rw, req)
			}))
			t.Cleanup(server.Close)
			i, app := instanceAt(w, server, harness.IsTokenRequest)
			link, err := app.AuthCodeURL(t.Context(), harness.ClientID, harness.RedirectURI, []string{harness.UserScope})
			if err != nil {
				t.Fatal(err)
			}
			for what, call := range map[string]func() error{
				"an app's token": func() error {
					_, err := app.AcquireTokenByCredential(t.Context(), []string{harness.GraphScope})
					return err
				},
				"a sign-in": func() error {
					code, err := w.Entra.AuthorizeCode(link, u.Username)
					if err != nil {
						return err
					}
					_, err = app.AcquireTokenByAuthCode(t.Context(), code, harness.RedirectURI, []string{harness.UserScope})
					return err
				},
			} {
				var err error
				if n := harness.Allocated(func() { err = call() }); n > harness.AllocationLimit {
					t.Errorf("%s took %d MiB", what, n>>20)
				}
				harness.Canary.SawError(err)
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s: %.300v, want an error that says %q", what, err, test.says)
				}
			}
			for _, key := range w.KeysLike(":response") {
				t.Errorf("something is kept: %s", strings.TrimPrefix(key, w.Prefix))
			}
			// another token, of the real one
			if _, err := i.App().AcquireTokenByCredential(t.Context(), []string{harness.DynamicsScope}); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// So does a discovery endpoint.
func TestDiscoveryThatSendsTooMuch(t *testing.T) {
	w := harness.NewWorld(t)
	chunk := bytes.Repeat([]byte(" "), 64<<10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { forever(rw, chunk) }))
	t.Cleanup(server.Close)
	_, app := instanceAt(w, server, anyDiscovery)
	var err error
	n := harness.Allocated(func() { _, err = app.AcquireTokenByCredential(t.Context(), []string{harness.GraphScope}) })
	if n > harness.AllocationLimit {
		t.Errorf("it took %d MiB", n>>20)
	}
	if err == nil || !strings.Contains(err.Error(), "larger than 256 KiB") {
		t.Errorf("%.300v", err)
	}
}

// The transport that Transport(nil) and HTTPClient make takes headers of 64 KiB at most, unlike net/http's, and follows
// net/http's other limits.
func TestOwnTransportIsBounded(t *testing.T) {
	w := harness.NewWorld(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X", strings.Repeat("x", 128<<10))
	}))
	t.Cleanup(server.Close)
	// Transport(nil) is made of http.DefaultTransport: for this test one that trusts the server.
	standard := http.DefaultTransport
	http.DefaultTransport = server.Client().Transport
	t.Cleanup(func() { http.DefaultTransport = standard })
	i := w.Instance()
	gate := i.Tokens.Transport(nil)
	t.Cleanup(gate.(interface{ CloseIdleConnections() }).CloseIdleConnections)
	for name, client := range map[string]*http.Client{
		"HTTPClient": i.Tokens.HTTPClient(), "Transport(nil)": {Transport: gate},
	} {
		resp, err := client.Get(server.URL)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "headers exceeded") {
			t.Errorf("%s takes headers of 128 KiB: %v", name, err)
		}
		client.CloseIdleConnections()
	}
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatalf("net/http's refuses it too, and this test shows nothing: %v", err)
	}
	resp.Body.Close()
}

// A token server that sends a byte now and then keeps a caller for as long as the caller's context, and no goroutine
// beyond Close.
func TestTokenServerThatTrickles(t *testing.T) {
	w := harness.NewWorld(t)
	ended := make(chan struct{})
	began := make(chan struct{}, 16)
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		began <- struct{}{}
		for {
			select {
			case <-req.Context().Done():
				return
			case <-ended:
				return
			case <-tick.C:
				_, _ = rw.Write([]byte(" "))
				_ = http.NewResponseController(rw).Flush()
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(ended) })
	i, app := instanceAt(w, server, harness.IsTokenRequest)
	ctx, cancel := context.WithCancel(t.Context())
	calls := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
		return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	})
	<-began
	cancel()
	for _, g := range harness.CollectCalls(t, 1, calls) {
		if !errors.Is(g.Err, context.Canceled) {
			t.Errorf("%v", g.Err)
		}
	}
	i.Close()
}

// An answer's headers are kept with it for the others, but not what no token endpoint sends; and a redirection is an
// error: a client's secret goes to no other server.
func TestTokenServerThatRedirectsOrSendsLongHeaders(t *testing.T) {
	w := harness.NewWorld(t)
	var elsewhere atomic.Int64
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	var status atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Location", other.URL)
		rw.Header().Set("WWW-Authenticate", strings.Repeat("x", 32<<10))
		rw.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(rw, `{"error":"invalid_client"}`)
	}))
	t.Cleanup(server.Close)
	_, app := instanceAt(w, server, harness.IsTokenRequest)
	for n, code := range []int64{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect, http.StatusUnauthorized} {
		status.Store(code)
		_, err := app.AcquireTokenByCredential(t.Context(), []string{fmt.Sprintf("https://api%d.example.com/.default", n)})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(code)) {
			t.Errorf("%d: %v", code, err)
		}
	}
	if elsewhere.Load() > 0 {
		t.Error("a token request followed a redirection")
	}
	kept := 0
	for _, key := range w.KeysLike(":pause") {
		kept++
		if size := w.Redis.Admin.StrLen(t.Context(), key).Val(); size > 4<<10 {
			t.Errorf("%d bytes are kept of a refusal", size)
		}
	}
	if kept == 0 {
		t.Error("nothing is kept, and this test shows nothing")
	}
}
