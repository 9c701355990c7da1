package gate

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/stage"
)

// Redirections, the Host field and encodings are with the gate as http.Client and the server have them without it.
func TestHTTPIsAsWithoutTheGate(t *testing.T) {
	zipped := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, body)
		_ = z.Close()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_in":3600}`,
			req.Host+" "+req.Header.Get("Content-Encoding")+" "+string(body))
	})
	for _, code := range []int{307, 308} {
		mux.Handle(fmt.Sprintf("/%d", code), http.RedirectHandler("/token", code))
		mux.Handle(fmt.Sprintf("/twice%d", code), http.RedirectHandler(fmt.Sprintf("/%d", code), code))
		mux.Handle(fmt.Sprintf("/away%d", code), http.RedirectHandler("/nowhere", code))
	}
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, _ *http.Request) { zipped(w, 200, stage.GoodToken) })
	mux.HandleFunc("/gzip400", func(w http.ResponseWriter, _ *http.Request) {
		zipped(w, 400, `{"error":"invalid_scope"}`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	base := &http.Transport{DisableCompression: true}
	t.Cleanup(base.CloseIdleConnections)

	for _, test := range []struct{ name, path, host, encoding, accepts string }{
		{"nothing", "/token", "", "", ""},
		{"307", "/307", "", "", ""},
		{"308", "/308", "", "", ""},
		{"two of them", "/twice307", "", "", ""},
		{"308 twice", "/twice308", "", "", ""},
		{"to nothing", "/away307", "", "", ""},
		{"a Host", "/token", "login.example.com", "", ""},
		{"another Host", "/token", "login.example.org", "", ""},
		{"a request's encoding", "/token", "", "x-test", ""},
		{"an answer in gzip", "/gzip", "", "", ""},
		{"an answer in gzip that is asked for", "/gzip", "", "", "gzip"},
		{"an error in gzip", "/gzip400", "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGate(t)
			call := func(via http.RoundTripper) string {
				req, err := http.NewRequest(http.MethodPost, server.URL+test.path, strings.NewReader(stage.AppForm("one")))
				if err != nil {
					t.Fatal(err)
				}
				req.Host = test.host
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				for name, value := range map[string]string{"Content-Encoding": test.encoding, "Accept-Encoding": test.accepts} {
					if value != "" {
						req.Header.Set(name, value)
					}
				}
				resp, err := (&http.Client{Transport: via}).Do(req)
				if err != nil {
					return err.Error()
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				text := strings.Split(string(body), `,"refresh_in"`)[0] // which the gate adds
				return fmt.Sprint(resp.StatusCode, resp.Header.Get("Content-Encoding"), strings.TrimSuffix(text, "}"), err)
			}
			want := call(base)
			for n := range 2 { // from the server, and as it is remembered
				if got := call(g.Transport(base)); got != want {
					t.Errorf("call %d: %q, want %q", n+1, got, want)
				}
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if got := call(g.Transport(base)); got != want {
						t.Errorf("among others: %q, want %q", got, want)
					}
				})
			}
			wg.Wait()
		})
	}
}

// A client's secret follows no redirection to another server.
func TestRedirectionToAnotherServerIsNotFollowed(t *testing.T) {
	for _, to := range []string{
		"https://elsewhere.example.com/token", "http://login.example.com/token", "//elsewhere.example.com/token",
		"https://login.example.com:8443/t",
	} {
		asked := 0
		gated := newGate(t).Transport(stage.RoundTrip(func(req *http.Request) (*http.Response, error) {
			asked++
			return stage.Says(307, "", "Location", to)(req)
		}))
		if status, _, err := stage.Ask(t.Context(), gated, stage.AppForm("one")); status != 307 || asked != 1 {
			t.Errorf("%s: %d %v after %d requests, want the 307 of the first", to, status, err, asked)
		}
	}
}
