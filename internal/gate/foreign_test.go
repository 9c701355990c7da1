package gate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/stage"
)

type badBody struct{ read, close func() }

func (b badBody) Read([]byte) (int, error) { b.read(); return 0, io.EOF }
func (b badBody) Close() error             { b.close(); return nil }

func nothing() {}
func panics()  { panic("a-secret-in-a-panic") }
func ends()    { runtime.Goexit() }
func bodyThat(read func(), close func()) stage.RoundTrip {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: badBody{read, close}}, nil
	}
}

// badTransports are what a base transport may do wrong in a goroutine of the Cache.
var badTransports = map[string]stage.RoundTrip{
	"panics":               func(*http.Request) (*http.Response, error) { panics(); return nil, nil },
	"panics with an error": func(*http.Request) (*http.Response, error) { panic(errors.New("a-secret-in-a-panic")) },
	"nil dereference": func(*http.Request) (*http.Response, error) {
		var r *http.Response
		return nil, errors.New(r.Status)
	},
	"ends its goroutine": func(*http.Request) (*http.Response, error) { ends(); return nil, nil },
	"nil and nil":        func(*http.Request) (*http.Response, error) { return nil, nil },
	"no body":            func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil },
	"a response and an error": func(req *http.Request) (*http.Response, error) {
		resp, _ := stage.Says(200, stage.GoodToken)(req)
		return resp, errors.New("and an error")
	},
	"a body that panics":             bodyThat(panics, nothing),
	"a body that panics twice":       bodyThat(panics, panics),
	"a body that ends its goroutine": bodyThat(ends, nothing),
}

// Whatever a base transport does wrong is an error for all who wait, without the panic's text, and nothing more: no
// flight stays open, and the next token comes.
func TestBadTransportIsAnErrorForThoseWhoWait(t *testing.T) {
	for name, bad := range badTransports {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			gated := g.Transport(bad)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					_, _, err := stage.Ask(t.Context(), gated, stage.AppForm("one"))
					if err == nil || strings.Contains(err.Error(), "a-secret-in-a-panic") {
						t.Errorf("a caller got %v, want an error that tells no secret", err)
					}
				})
			}
			wg.Wait()
			g.flights.mu.Lock()
			if len(g.flights.open) != 0 {
				t.Error("a flight is left open")
			}
			g.flights.mu.Unlock()
			works := g.Transport(stage.Says(200, stage.GoodToken))
			_, body, err := stage.Ask(t.Context(), works, stage.AppForm("two"))
			if err != nil || !strings.Contains(body, `"a"`) {
				t.Errorf("afterwards: %q %v", body, err)
			}
		})
	}
}

// A body whose Close panics, or ends its goroutine, has been read.
func TestAnswerStandsWhateverItsCloseDoes(t *testing.T) {
	for name, close := range map[string]func(){"panics": panics, "ends its goroutine": ends} {
		t.Run(name, func(t *testing.T) {
			bad := stage.RoundTrip(func(req *http.Request) (*http.Response, error) {
				resp, _ := stage.Says(200, stage.GoodToken)(req)
				resp.Body = struct {
					io.Reader
					io.Closer
				}{resp.Body, badBody{close: close}}
				return resp, nil
			})
			_, body, err := stage.Ask(t.Context(), newGate(t).Transport(bad), stage.AppForm("one"))
			if err != nil || !strings.Contains(body, `"a"`) {
				t.Errorf("%q %v", body, err)
			}
		})
	}
}

// Sign-ins and discovery run in the caller's goroutine, and a panic there is the caller's as with net/http; what has no
// body is an error. The Cache goes on.
func TestBadTransportInTheCallersGoroutine(t *testing.T) {
	signIn := url.Values{"grant_type": {"authorization_code"}, "client_id": {"c"}, "code": {"x"}}.Encode()
	for name, bad := range badTransports {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			gated := g.Transport(bad)
			get := func() error {
				resp, err := (&http.Client{Transport: gated}).Get(
					"https://login.example.com/t/v2.0/.well-known/openid-configuration")
				if err == nil {
					defer resp.Body.Close()
					_, err = io.ReadAll(resp.Body)
				}
				return err
			}
			for what, call := range map[string]func() error{
				"a sign-in": func() error { _, _, err := stage.Ask(t.Context(), gated, signIn); return err },
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
			works := g.Transport(stage.Says(200, stage.GoodToken))
			_, body, err := stage.Ask(t.Context(), works, stage.AppForm("two"))
			if err != nil || !strings.Contains(body, `"a"`) {
				t.Errorf("afterwards: %q %v", body, err)
			}
		})
	}
}

// A gate on a gate of the same Cache is one gate, also with somebody else's transport between them.
func TestGateOnAGateIsOneGate(t *testing.T) {
	for name, between := range map[string]func(http.RoundTripper) http.RoundTripper{
		"directly": func(inner http.RoundTripper) http.RoundTripper { return inner },
		"wrapped":  func(inner http.RoundTripper) http.RoundTripper { return stage.RoundTrip(inner.RoundTrip) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			outer := g.Transport(between(g.Transport(stage.Says(200, stage.GoodToken))))
			if _, body, err := stage.Ask(ctx, outer, stage.AppForm("one")); err != nil || !strings.Contains(body, `"a"`) {
				t.Errorf("%q %v", body, err)
			}
		})
	}
}
