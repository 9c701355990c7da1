package entrafaults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// answering is a base transport in a function.
type answering func(*http.Request) (*http.Response, error)

func (f answering) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// page is what a proxy on the way gives in the token endpoint's place.
func page(status int, body string, header ...string) answering {
	return func(req *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
}

// behind is a client of the instance whose token requests go to egress; n counts them.
func behind(i *harness.Instance, egress http.RoundTripper) (app confidential.Client, n *atomic.Int64) {
	i.World.T.Helper()
	n = new(atomic.Int64)
	base := i.World.Entra.Transport()
	i.World.T.Cleanup(base.CloseIdleConnections)
	counted := answering(func(req *http.Request) (*http.Response, error) {
		n.Add(1)
		return egress.RoundTrip(req)
	})
	client := &http.Client{Transport: i.Tokens.Transport(takenOver{base, counted, harness.IsTokenRequest})}
	return harness.NewApp(i.World.T, i.World.Entra.Authority(harness.Tenant), i.Tokens, client), n
}

var sick = map[string]answering{
	"dial refused": func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	},
	"no such host": func(*http.Request) (*http.Response, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "login.example.com", IsNotFound: true}
	},
	"TLS": func(*http.Request) (*http.Response, error) { return nil, errors.New("tls: handshake failure") },
	"hanging for a second": func(req *http.Request) (*http.Response, error) {
		select {
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(time.Second): // the application's timeout
			return nil, os.ErrDeadlineExceeded
		}
	},
	"panicking":        func(*http.Request) (*http.Response, error) { panic("in the base transport") },
	"nothing":          func(*http.Request) (*http.Response, error) { return nil, nil },
	"503 of a proxy":   page(503, "<html>down</html>", "Retry-After", "3600"),
	"502 of a proxy":   page(502, "<html>down</html>"),
	"429 of a proxy":   page(429, "<html>slow down</html>", "Retry-After", "3600"),
	"407 of a proxy":   page(407, "<html>who are you?</html>"),
	"403 of a proxy":   page(403, ""),
	"a portal":         page(200, "<html>sign in</html>"),
	"a gateway's JSON": page(503, `{"message":"no upstream"}`, "Content-Type", "application/json", "Retry-After", "3600"),
}

// An instance whose way to Entra ID is broken harms no other: the others get a token by one request of theirs, with an
// old token there or without; and the sick one has it then, too.
func TestSickInstanceHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	harmsNobodyElse(t, sick)
}

// Where the application's transport ends nothing, half a minute passes until the gate does.
func TestLongSickInstanceThatHangsHarmsNobodyElse(t *testing.T) {
	long.Test(t)
	harmsNobodyElse(t, map[string]answering{"hanging": func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}})
}

func harmsNobodyElse(t *testing.T, sick map[string]answering) {
	for name, egress := range sick {
		for state, life := range map[string]time.Duration{
			"nobody has a token": time.Hour, "there is an old token": 4 * time.Minute,
		} {
			t.Run(name+", "+state, func(t *testing.T) {
				t.Parallel()
				w := harness.NewWorld(t)
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
				defer cancel()
				w.Lasting(life - 5*time.Minute)
				a, b := w.Instance(), w.Instance()
				old := ""
				if life < 5*time.Minute {
					old = harness.Must(t)(b.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
				}
				w.Lasting(time.Hour)
				w.Entra.ResetRequests()
				sickApp, tried := behind(a, egress)
				well := b.App()
				leave, left := context.WithCancel(ctx)
				defer left()
				there := harness.StartCalls(5, func(int) (confidential.AuthResult, error) {
					for {
						// By a clock that is wrong for a moment the old token may have come just now.
						r, err := sickApp.AcquireTokenByCredential(leave, []string{harness.GraphScope})
						if err != nil || tried.Load() > 0 {
							return r, err
						}
					}
				})
				harness.Eventually(t, "the sick instance has the lease and has tried", func() bool { return tried.Load() > 0 })
				here := harness.CollectCalls(t, 10, harness.StartCalls(10, func(int) (confidential.AuthResult, error) {
					return well.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
				}))
				for _, g := range here {
					if g.Err != nil {
						t.Fatalf("a caller of the well instance: %v", g.Err)
					}
				}
				harness.Eventually(t, "the well instance has a new token", func() bool {
					return harness.Must(t)(well.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != old
				})
				w.Count(t, 1, "the well instance's request")
				left()
				for _, g := range harness.CollectCalls(t, 5, there) {
					if old != "" && g.Err != nil && !errors.Is(g.Err, context.Canceled) {
						t.Errorf("a caller of the sick instance, with an old token there: %v", g.Err)
					}
				}
				harness.Eventually(t, "the sick instance has the token", func() bool {
					_, err := sickApp.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
					return err == nil
				})
			})
		}
	}
}

// What the token endpoint itself says is everybody's at once: a 429 also as the text that Entra ID sends, and errors in
// OAuth's shape.
func TestEndpointsErrorsAreSharedAtOnce(t *testing.T) {
	t.Parallel()
	const oauth = "application/json; charset=utf-8"
	for name, says := range map[string]answering{
		"429 in text": page(429, "Too Many Requests", "Content-Type", "text/plain", "Retry-After", "60"),
		"429 in JSON": page(429, `{"error":"temporarily_unavailable","error_codes":[90055]}`,
			"Content-Type", oauth, "Retry-After", "60"),
		"503 in JSON": page(503, `{"error":"temporarily_unavailable","error_codes":[90033]}`,
			"Content-Type", oauth, "Retry-After", "60"),
		"a 400 that throttles": page(400, `{"error":"invalid_grant","error_codes":[50196]}`, "Content-Type", oauth),
		"a refusal":            page(401, `{"error":"invalid_client","error_codes":[7000215]}`, "Content-Type", oauth),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			first, n := behind(w.Instance(), says)
			second, m := behind(w.Instance(), says)
			for _, app := range []confidential.Client{first, second} {
				if _, err := app.AcquireTokenByCredential(context.Background(), []string{harness.GraphScope}); err == nil {
					t.Error("a token")
				}
			}
			if n.Load() != 1 || m.Load() != 0 {
				t.Errorf("%d and %d requests, want one of the first instance", n.Load(), m.Load())
			}
		})
	}
}
