package cost_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// commands counts all that Redis is asked.
type commands struct{ atomic.Int64 }

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}
func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmd)
	}
}

// farms are ADFS farms, one at each host.
type farms struct{ tokens atomic.Int64 }

func (f *farms) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	base := "https://" + r.URL.Host + "/adfs"
	body := fmt.Sprintf(`{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q}`,
		base, base+"/oauth2/authorize", base+"/oauth2/token")
	if r.Method == http.MethodPost {
		body = fmt.Sprintf(`{"token_type":"Bearer","expires_in":%d,"access_token":"token %d of %s"}`,
			3600+f.tokens.Add(1), f.tokens.Load(), r.URL.Host)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// One client id is known in two clouds, or at two ADFS farms: under the same partition key. Their tokens live side by
// side, and a hit of one costs no command of Redis and no request.
func TestHitsInTwoCloudsCostNothing(t *testing.T) {
	const hits = 400
	ctx := context.Background()
	wide := []string{"api://a/x", "api://a/y"}
	adfs := [2]string{"https://sts.contoso.com/adfs", "https://sts.fabrikam.com/adfs"}
	clouds := [2]string{"https://login.microsoftonline.com/" + harness.Tenant,
		"https://login.microsoftonline.us/" + harness.Tenant}
	for name, test := range map[string]struct {
		authorities [2]string
		scopes      [2][]string
	}{
		"two clouds":                     {clouds, [2][]string{{harness.GraphScope}, {harness.GraphScope}}},
		"two farms of ADFS":              {adfs, [2][]string{wide[:1], wide[:1]}},
		"two farms of ADFS, more in one": {adfs, [2][]string{wide[:1], wide}},
	} {
		for _, gated := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, gate %t", name, gated), func(t *testing.T) {
				w := harness.NewWorld(t)
				n, f := &commands{}, &farms{}
				rdb := w.Client()
				rdb.AddHook(n)
				i := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
				var apps []confidential.Client
				for _, authority := range test.authorities {
					base := i.HTTP.Transport
					if strings.HasSuffix(authority, "/adfs") {
						base = i.Tokens.Transport(f)
					}
					if !gated {
						base = w.Entra.Transport()
						t.Cleanup(base.(*http.Transport).CloseIdleConnections)
						if strings.HasSuffix(authority, "/adfs") {
							base = f
						}
					}
					apps = append(apps, harness.NewApp(t, authority, i.Tokens, &http.Client{Transport: base},
						confidential.WithInstanceDiscovery(!strings.HasSuffix(authority, "/adfs"))))
				}
				var tokens [2]string
				acquire := func(k int) string {
					t.Helper()
					return harness.Must(t)(apps[k%2].AcquireTokenByCredential(ctx, test.scopes[k%2]))
				}
				for k := range 2 {
					tokens[k] = acquire(k)
				}
				acquire(0) // it learns of the other's
				before := n.Load()
				for k := range hits {
					if acquire(k) != tokens[k%2] {
						t.Fatalf("hit %d got another token", k)
					}
				}
				if asked := n.Load() - before; asked > 20 {
					t.Errorf("%d hits cost %d Redis commands", hits, asked)
				}
				if asked := w.Entra.Count() + int(f.tokens.Load()); asked != 2 {
					t.Errorf("%d token requests, want 2", asked)
				}
			})
		}
	}
}
