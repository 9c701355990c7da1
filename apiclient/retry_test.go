package apiclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/msal-redis/msal-redis-go/apiclient"
)

// roundTripper is a transport that is a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// saying is an answer.
func saying(r *http.Request, status int, h http.Header, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body), Request: r, ProtoMajor: 1,
		ProtoMinor: 1, ContentLength: -1}
}

// When attempts are made, by the fake clock of a bubble: after what the API asks for, and never later than the caller's
// context or MaxRetryDelay allows; the answer is the caller's at once then.
func TestWhenAttemptsAreMade(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	header := func(kv ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return h
	}
	for _, test := range []struct {
		name    string
		status  int
		h       http.Header
		timeout time.Duration
		max     time.Duration
		random  float64
		want    []time.Duration // of the attempts, since the first
	}{
		{name: "seconds", h: header("Retry-After", "2"), want: []time.Duration{0, 2000 * ms, 4000 * ms, 6000 * ms}},
		{name: "a date", h: header("Retry-After", time.Date(2000, 1, 1, 0, 0, 7, 0, time.UTC).Format(http.TimeFormat)),
			timeout: 7500 * ms, want: []time.Duration{0, 7000 * ms}}, // then it is over, and the backoff's 2.4 s are too long
		{name: "retry-after-ms", h: header("retry-after-ms", "150", "Retry-After", "60"),
			want: []time.Duration{0, 150 * ms, 300 * ms, 450 * ms}},
		{name: "x-ms-retry-after-ms", h: header("x-ms-retry-after-ms", "150", "Retry-After", "60"),
			want: []time.Duration{0, 150 * ms, 300 * ms, 450 * ms}},
		{name: "the first of both", h: header("x-ms-retry-after-ms", "9", "retry-after-ms", "150"),
			want: []time.Duration{0, 150 * ms, 300 * ms, 450 * ms}},
		{name: "503", status: 503, h: header("retry-after-ms", "150"),
			want: []time.Duration{0, 150 * ms, 300 * ms, 450 * ms}},
		{name: "by chance", h: header("Retry-After", "2"), random: 0.5,
			want: []time.Duration{0, 2250 * ms, 4500 * ms, 6750 * ms}},
		{name: "nothing", h: header(), want: []time.Duration{0, 800 * ms, 3200 * ms, 8800 * ms}},
		{name: "nothing, by chance", h: header(), random: 0.5, want: []time.Duration{0, 900 * ms, 3600 * ms, 9900 * ms}},
		{name: "nothing that is understood", h: header("Retry-After", "soon"),
			want: []time.Duration{0, 800 * ms, 3200 * ms, 8800 * ms}},
		{name: "nothing, MaxRetryDelay", h: header(), max: time.Second,
			want: []time.Duration{0, 800 * ms, 1800 * ms, 2800 * ms}},
		{name: "more than MaxRetryDelay", h: header("Retry-After", "301"), want: []time.Duration{0}},
		{name: "more than MaxRetryDelay in ms", h: header("retry-after-ms", "300001"), want: []time.Duration{0}},
		{name: "no limit", h: header("Retry-After", "3600"), max: -1,
			want: []time.Duration{0, 3600_000 * ms, 7200_000 * ms, 10800_000 * ms}},
		{name: "an hour of seconds", h: header("Retry-After", "3600"), timeout: time.Minute, max: -1,
			want: []time.Duration{0}},
		{name: "retry-after-ms beyond the context", h: header("retry-after-ms", "1500"), timeout: time.Second,
			want: []time.Duration{0}},
		{name: "x-ms-retry-after-ms beyond the context", h: header("x-ms-retry-after-ms", "1500"), timeout: time.Second,
			want: []time.Duration{0}},
		{name: "chance within the context", h: header("Retry-After", "2"), timeout: 2200 * ms, random: 0.5,
			want: []time.Duration{0, 2100 * ms}},
		{name: "seconds that overflow", h: header("Retry-After", "9223372037"), want: []time.Duration{0}},
		{name: "seconds that overflow, no limit", h: header("Retry-After", "9223372037"), max: -1, want: []time.Duration{0}},
		{name: "seconds that overflow to a small number", h: header("Retry-After", "18446744074"), want: []time.Duration{0}},
		{name: "seconds of no int64", h: header("Retry-After", strings.Repeat("9", 30)), want: []time.Duration{0}},
		{name: "ms that overflow", h: header("retry-after-ms", "9223372036855"), want: []time.Duration{0}},
		{name: "ms of no int64", h: header("x-ms-retry-after-ms", strings.Repeat("9", 30)), want: []time.Duration{0}},
		{name: "less than nothing", h: header("Retry-After", "-"+strings.Repeat("9", 30)),
			want: []time.Duration{0, 800 * ms, 3200 * ms, 8800 * ms}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var at []time.Duration
				status := max(test.status, 429*(1-min(test.status, 1)))
				client, err := apiclient.New(resource, &credential{}, &apiclient.Options{MaxRetryDelay: test.max,
					Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						at = append(at, time.Since(start))
						return saying(r, status, test.h, strings.NewReader("slow down")), nil
					})})
				if err != nil {
					t.Fatal(err)
				}
				apiclient.SetRandom(client, func() float64 { return test.random })
				ctx := t.Context()
				if test.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.timeout)
					defer cancel()
				}
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, resource, nil)
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if body, _ := io.ReadAll(resp.Body); resp.StatusCode != status || string(body) != "slow down" {
					t.Errorf("status %d, body %q, want the API's answer", resp.StatusCode, body)
				}
				if !slices.Equal(at, test.want) {
					t.Errorf("attempts at %v, want %v", at, test.want)
				}
				if last := test.want[len(test.want)-1]; time.Since(start) != last {
					t.Errorf("the answer was there after %v, want it at once", time.Since(start))
				}
			})
		})
	}
}

// Callers who were refused together do not come back together, whether the API names a wait or not.
func TestCallersRefusedTogetherComeBackApart(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"1", ""} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var mu sync.Mutex
			at := map[time.Duration]int{}
			client, err := apiclient.New(resource, &credential{}, &apiclient.Options{MaxRetries: 1,
				Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
					mu.Lock()
					defer mu.Unlock()
					at[time.Since(start)]++
					return saying(r, 429, http.Header{"Retry-After": {after}}, http.NoBody), nil
				})})
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					if resp, err := client.Get(resource); err == nil {
						resp.Body.Close()
					}
				})
			}
			wg.Wait()
			if at[0] != 64 || len(at) < 60 {
				t.Errorf("Retry-After %q: 64 callers came back at %d moments", after, len(at)-1)
			}
		})
	}
}

// endless is a body without an end.
type endless struct{ read, closed int }

func (e *endless) Read(b []byte) (int, error) { e.read += len(b); return len(b), nil }
func (e *endless) Close() error               { e.closed++; return nil }

// Of an answer that nobody gets, no more is read than its connection is worth; of one that the caller gets, nothing.
func TestAnswersAreNotReadToTheirEnd(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.Header{
		"401 with claims":     {"Www-Authenticate": {`Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="`}},
		"401":                 {},
		"429":                 {},
		"503":                 {},
		"429 for another day": {"Retry-After": {"86400"}},
		"400":                 {},
		"200":                 {},
	} {
		var status int
		fmt.Sscan(name, &status)
		var bodies []*endless
		client, err := apiclient.New(resource, &credential{}, &apiclient.Options{RetryDelay: -1, MaxRetries: 2,
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				body := &endless{}
				bodies = append(bodies, body)
				resp := saying(r, status, h, nil)
				resp.Body = body
				return resp, nil
			})})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(resource)
		if err != nil {
			t.Fatal(err)
		}
		last := len(bodies) - 1
		for n, body := range bodies[:last] {
			if body.read > 2*apiclient.DrainAtMost || body.closed != 1 {
				t.Errorf("%s: of answer %d, %d bytes are read, and it is closed %d times", name, n, body.read, body.closed)
			}
		}
		if bodies[last].read != 0 || bodies[last].closed != 0 {
			t.Errorf("%s: of the caller's answer %d bytes are read, and it is closed %d times", name, bodies[last].read,
				bodies[last].closed)
		}
		resp.Body.Close()
	}
}

// Trailers may be set until the body has ended, as with net/http.
func TestTrailersOfAStreamReachTheAPI(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, r.Proto, " ", r.Trailer.Get("X-Sum"))
		}))
		server.EnableHTTP2 = http2
		server.StartTLS()
		t.Cleanup(server.Close)
		base := server.Client().Transport.(*http.Transport)
		base.TLSClientConfig = &tls.Config{RootCAs: base.TLSClientConfig.RootCAs}
		ours, err := apiclient.New(resource, &credential{}, &apiclient.Options{Transport: base})
		if err != nil {
			t.Fatal(err)
		}
		answers := map[string]string{}
		for by, client := range map[string]*http.Client{"net/http": {Transport: base}, "apiclient": ours} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, resource, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Trailer = http.Header{"X-Sum": nil}
			req.Body = &summed{Reader: strings.NewReader("payload"), at: func() { req.Trailer.Set("X-Sum", "sum") }}
			req.ContentLength = -1
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			answers[by] = string(b)
		}
		if !strings.HasSuffix(answers["net/http"], " sum") || answers["apiclient"] != answers["net/http"] {
			t.Errorf("the API saw %v", answers)
		}
	}
}

// summed is a body with something to do at its end.
type summed struct {
	io.Reader
	at func()
}

func (s *summed) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		s.at()
	}
	return n, err
}

func (s *summed) Close() error { return nil }

// A transport that answers nothing at all is an error, and a body that cannot be had again after all is one too.
func TestWhatFailsBelow(t *testing.T) {
	t.Parallel()
	client, err := apiclient.New(resource, &credential{}, &apiclient.Options{RetryDelay: -1,
		Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil })})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.Get(resource); err == nil || !strings.Contains(err.Error(), "apiclient: ") {
		resp.Body.Close()
		t.Errorf("neither an answer nor an error: %v", err)
	}
	sent := 0
	client, err = apiclient.New(resource, &credential{}, &apiclient.Options{RetryDelay: -1,
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			sent++
			return saying(r, 429, nil, http.NoBody), nil
		})})
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, resource, strings.NewReader("payload"))
	gone := errors.New("the file is gone")
	req.GetBody = func() (io.ReadCloser, error) { return nil, gone }
	if _, err := client.Do(req); !errors.Is(err, gone) || sent != 1 {
		t.Errorf("%v after %d requests", err, sent)
	}
}

// Whatever number a server sends is understood as that, or as the longest wait that there is, and never as less.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "-1", "+1", "0", "9223372036", "9223372037", "18446744074",
		"99999999999999999999999", "1.5", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, unit := range map[string]time.Duration{"Retry-After": time.Second, "Retry-After-Ms": time.Millisecond,
			"X-Ms-Retry-After-Ms": time.Millisecond} {
			got := apiclient.RetryAfter(http.Header{name: {s}})
			if got < 0 {
				t.Errorf("%s: %q is %v", name, s, got)
			}
			if strings.Trim(s, "0123456789") != "" || s == "" {
				continue
			}
			n, _ := new(big.Int).SetString(s, 10)
			if n.Mul(n, big.NewInt(int64(unit))); n.Cmp(big.NewInt(math.MaxInt64)) > 0 {
				if got != math.MaxInt64 {
					t.Errorf("%s: %q is %v", name, s, got)
				}
			} else if got != time.Duration(n.Int64()) {
				t.Errorf("%s: %q is %v", name, s, got)
			}
		}
	})
}
