package msalredis

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// transport is a base transport in a function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// says answers with a body, and a header as name and value in turn.
func says(status int, body string, header ...string) transport {
	return func(req *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"application/json"}}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req}, nil
	}
}

const goodToken = `{"access_token":"a","expires_in":3600,"token_type":"Bearer"}`

// ask sends a token request through a gate.
func ask(ctx context.Context, gate http.RoundTripper, form string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://login.example.com/t/oauth2/v2.0/token", strings.NewReader(form))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Client{Transport: gate}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func appForm(scope string) string {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}, "client_secret": {"s"}, "scope": {scope}}.Encode()
}

type badBody struct{ read, close func() }

func (b badBody) Read([]byte) (int, error) { b.read(); return 0, io.EOF }
func (b badBody) Close() error             { b.close(); return nil }

func nothing() {}
func panics()  { panic("a-secret-in-a-panic") }
func ends()    { runtime.Goexit() }
func bodyThat(read func(), close func()) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: badBody{read, close}}
}

// badTransports are what a base transport may do wrong in a goroutine of the Cache.
var badTransports = map[string]transport{
	"panics":               func(*http.Request) (*http.Response, error) { panics(); return nil, nil },
	"panics with an error": func(*http.Request) (*http.Response, error) { panic(errors.New("a-secret-in-a-panic")) },
	"nil dereference":      func(*http.Request) (*http.Response, error) { var r *http.Response; return nil, errors.New(r.Status) },
	"ends its goroutine":   func(*http.Request) (*http.Response, error) { ends(); return nil, nil },
	"nil and nil":          func(*http.Request) (*http.Response, error) { return nil, nil },
	"no body":              func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil },
	"a response and an error": func(req *http.Request) (*http.Response, error) {
		resp, _ := says(200, goodToken)(req)
		return resp, errors.New("and an error")
	},
	"a body that panics":             func(*http.Request) (*http.Response, error) { return bodyThat(panics, nothing), nil },
	"a body that panics twice":       func(*http.Request) (*http.Response, error) { return bodyThat(panics, panics), nil },
	"a body that ends its goroutine": func(*http.Request) (*http.Response, error) { return bodyThat(ends, nothing), nil },
}

// Whatever a base transport does wrong is an error for all who wait, without the panic's text, and nothing more: no flight stays open,
// and the next token comes.
func TestBadTransportIsAnErrorForThoseWhoWait(t *testing.T) {
	for name, bad := range badTransports {
		t.Run(name, func(t *testing.T) {
			c := newFuzzCache(t, nil)
			gate := c.Transport(bad)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					_, _, err := ask(t.Context(), gate, appForm("one"))
					if err == nil || strings.Contains(err.Error(), "a-secret-in-a-panic") {
						t.Errorf("a caller got %v, want an error that tells no secret", err)
					}
				})
			}
			wg.Wait()
			c.flights.mu.Lock()
			if len(c.flights.all) != 0 {
				t.Error("a flight is left open")
			}
			c.flights.mu.Unlock()
			if _, body, err := ask(t.Context(), c.Transport(says(200, goodToken)), appForm("two")); err != nil || !strings.Contains(body, `"a"`) {
				t.Errorf("afterwards: %q %v", body, err)
			}
		})
	}
}

// A body whose Close panics, or ends its goroutine, has been read.
func TestAnswerStandsWhateverItsCloseDoes(t *testing.T) {
	for name, close := range map[string]func(){"panics": panics, "ends its goroutine": ends} {
		t.Run(name, func(t *testing.T) {
			bad := transport(func(req *http.Request) (*http.Response, error) {
				resp, _ := says(200, goodToken)(req)
				resp.Body = struct {
					io.Reader
					io.Closer
				}{resp.Body, badBody{close: close}}
				return resp, nil
			})
			if _, body, err := ask(t.Context(), newFuzzCache(t, nil).Transport(bad), appForm("one")); err != nil || !strings.Contains(body, `"a"`) {
				t.Errorf("%q %v", body, err)
			}
		})
	}
}

// Sign-ins and discovery run in the caller's goroutine, and a panic there is the caller's as with net/http; what has no body is an
// error. The Cache goes on.
func TestBadTransportInTheCallersGoroutine(t *testing.T) {
	signIn := url.Values{"grant_type": {"authorization_code"}, "client_id": {"c"}, "code": {"x"}}.Encode()
	for name, bad := range badTransports {
		t.Run(name, func(t *testing.T) {
			c := newFuzzCache(t, nil)
			gate := c.Transport(bad)
			get := func() error {
				resp, err := (&http.Client{Transport: gate}).Get("https://login.example.com/t/v2.0/.well-known/openid-configuration")
				if err == nil {
					defer resp.Body.Close()
					_, err = io.ReadAll(resp.Body)
				}
				return err
			}
			for what, call := range map[string]func() error{
				"a sign-in": func() error { _, _, err := ask(t.Context(), gate, signIn); return err },
				"discovery": get,
			} {
				var err error
				returned := false
				var wg sync.WaitGroup
				wg.Add(1)
				go func() { // which the transport may end
					defer wg.Done()
					defer func() { _ = recover() }()
					err = call()
					returned = true
				}()
				wg.Wait()
				if returned && err == nil {
					t.Errorf("%s: no error", what)
				}
			}
			if _, body, err := ask(t.Context(), c.Transport(says(200, goodToken)), appForm("two")); err != nil || !strings.Contains(body, `"a"`) {
				t.Errorf("afterwards: %q %v", body, err)
			}
		})
	}
}

// A base transport that ignores its context keeps neither a caller nor Close.
func TestCloseDoesNotWaitForATransportThatIgnoresItsContext(t *testing.T) {
	c := newFuzzCache(t, nil)
	asked, let := make(chan struct{}), make(chan struct{})
	gone := make(chan struct{})
	gate := c.Transport(transport(func(*http.Request) (*http.Response, error) {
		defer close(gone)
		close(asked)
		<-let
		return nil, errors.New("late")
	}))
	got := make(chan error, 1)
	go func() {
		_, _, err := ask(context.Background(), gate, appForm("one"))
		got <- err
	}()
	<-asked
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	for what, ch := range map[string]chan error{"Close": closed, "the caller": got} {
		select {
		case err := <-ch:
			if what == "the caller" && !errors.Is(err, ErrClosed) {
				t.Errorf("the caller got %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s waits for the base transport", what)
		}
	}
	close(let)
	<-gone
}

// A gate on a gate of the same Cache is one gate, also with somebody else's transport between them.
func TestGateOnAGateIsOneGate(t *testing.T) {
	for name, between := range map[string]func(http.RoundTripper) http.RoundTripper{
		"directly": func(inner http.RoundTripper) http.RoundTripper { return inner },
		"wrapped":  func(inner http.RoundTripper) http.RoundTripper { return transport(inner.RoundTrip) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newFuzzCache(t, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			outer := c.Transport(between(c.Transport(says(200, goodToken))))
			if _, body, err := ask(ctx, outer, appForm("one")); err != nil || !strings.Contains(body, `"a"`) {
				t.Errorf("%q %v", body, err)
			}
		})
	}
}

type panicky struct{}

func (panicky) Seal([]byte, []byte) ([]byte, error)       { panic("a-secret-in-a-panic") }
func (panicky) Open([]byte, []byte) ([]byte, error)       { panic("a-secret-in-a-panic") }
func (panicky) Enabled(context.Context, slog.Level) bool  { return true }
func (panicky) Handle(context.Context, slog.Record) error { panic("a-secret-in-a-panic") }
func (p panicky) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panicky) WithGroup(string) slog.Handler           { return p }

// A serializer or a log handler that panics costs sharing, or a line, and no token.
func TestPanickingSerializerAndLogHandler(t *testing.T) {
	c, err := New(fuzzClient(t, nil), panicky{}, &Options{Logger: slog.New(panicky{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, body, err := ask(t.Context(), c.Transport(says(200, goodToken)), appForm("one")); err != nil || !strings.Contains(body, `"a"`) {
		t.Errorf("%q %v", body, err)
	}
	if _, err := c.serializer.Open(nil, nil); err == nil || strings.Contains(err.Error(), "a-secret") {
		t.Errorf("Open: %v", err)
	}
	var b bytes.Buffer
	telemetry.NewLogger(slog.New(slog.NewTextHandler(&b, nil))).Warn("x")
	if !strings.Contains(b.String(), "msalredis: x") {
		t.Errorf("a healthy handler has %q", b.String())
	}
}
