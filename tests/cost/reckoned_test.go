package cost_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// random is text like a token's.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// document is a manager of MSAL's that somebody else fills.
type document []byte

func (d *document) Marshal() ([]byte, error)    { return *d, nil }
func (d *document) Unmarshal(text []byte) error { *d = text; return nil }

// entry is one of MSAL's, of a section; home "": an app's.
func entry(home, tenant, kind, target, secret string) string {
	now := time.Now().Unix()
	const host = "login.microsoftonline.com"
	key := strings.ToLower(strings.Join([]string{home, host, kind, harness.ClientID, tenant, target}, "-"))
	return fmt.Sprintf(`%q:{"home_account_id":%q,"environment":%q,"realm":%q,"credential_type":%q,`+
		`"client_id":%q,"secret":%q,"target":%q,"expires_on":"%d","extended_expires_on":"%d","cached_at":"%d"}`,
		key, home, host, tenant, kind, harness.ClientID, secret, target, now+3600, now+3600, now)
}

// userDocument is what MSAL has of a user, and its key.
func userDocument(n int) (key string, d document) {
	tenant := "9188040d-6c67-4c5b-b112-36a304b66dad"
	home := fmt.Sprintf("%08d-0000-4000-8000-000000000000.%s", n, tenant)
	d = fmt.Appendf(nil, `{"AccessToken":{%s},"RefreshToken":{%s},"IdToken":{%s}}`,
		entry(home, tenant, "AccessToken", harness.UserScope, random(1800)),
		entry(home, "", "RefreshToken", "", random(1000)), entry(home, tenant, "IdToken", "", random(900)))
	return home, d
}

// appDocument is what MSAL has of an app in a tenant, and its key.
func appDocument(n int) (key string, d document) {
	tenant := fmt.Sprintf("%08d-0000-4000-8000-000000000000", n)
	var tokens []string
	for r := range 3 {
		tokens = append(tokens, entry("", tenant, "AccessToken", resource(r), random(1400)))
	}
	d = fmt.Appendf(nil, `{"AccessToken":{%s}}`, strings.Join(tokens, ","))
	return harness.ClientID + "_" + tenant + "_AppTokenCache", d
}

func resource(n int) string { return fmt.Sprintf("https://org%d.crm4.dynamics.com/.default", n) }

// answering is a base transport that has a token for each request.
type answering struct{}

func (answering) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Body.Close()
	text := `{"token_type":"Bearer","expires_in":3599,"access_token":"` + random(1400) + `"}`
	return &http.Response{
		StatusCode: http.StatusOK, Request: req, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(text)),
	}, nil
}

// What the library reckons that its memory takes, which is what LocalBytes bounds, is what it takes: of users and apps
// that were stored or read, and of answers of the gate. It is not run beside others: it reads the heap.
func TestMemoryIsWhatIsReckoned(t *testing.T) {
	const n = 400
	w := harness.NewWorld(t)
	ctx := context.Background()
	store := func(of func(int) (string, document)) func(*msalredis.Cache, int) error {
		return func(tokens *msalredis.Cache, i int) error {
			key, d := of(i)
			return tokens.Export(ctx, &d, cache.ExportHints{PartitionKey: key})
		}
	}
	read := func(of func(int) (string, document)) func(*msalredis.Cache, int) error {
		return func(tokens *msalredis.Cache, i int) error {
			key, _ := of(i)
			var d document // MSAL's memory of it, which goes at once
			err := tokens.Replace(ctx, &d, cache.ReplaceHints{PartitionKey: key})
			if err == nil && len(d) < 1000 {
				err = fmt.Errorf("%d bytes are read", len(d))
			}
			return err
		}
	}
	ask := func(tokens *msalredis.Cache, i int) error {
		resp, err := (&http.Client{Transport: tokens.Transport(answering{})}).PostForm(
			"https://login.microsoftonline.com/"+harness.Tenant+"/oauth2/v2.0/token", url.Values{
				"grant_type": {"client_credentials"}, "client_id": {harness.ClientID}, "client_secret": {"s"},
				"scope": {resource(i)},
			})
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return err
	}
	for _, test := range []struct {
		name, holds string
		take        func(*msalredis.Cache, int) error
	}{
		{"users stored", "partitions", store(userDocument)}, {"users read", "partitions", read(userDocument)},
		{"apps stored", "partitions", store(appDocument)}, {"apps read", "partitions", read(appDocument)},
		{"answers", "answers", ask},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := harness.Options(w.Prefix)
			reader := metric.NewManualReader()
			o.Telemetry = msalredisotel.Telemetry{
				MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)),
			}
			// A cluster's client opens connections all the while: their buffers are not what is measured.
			rdb := w.Client(func(o *redis.UniversalOptions) { o.ReadBufferSize, o.WriteBufferSize = 4<<10, 4<<10 })
			tokens := w.InstanceOn(rdb, w.Sealer(w.Keys), o).Tokens
			if err := test.take(tokens, n); err != nil { // what the first brings about
				t.Fatal(err)
			}
			heldBefore, before := memorySize(t, reader, test.holds), settledHeap()
			for i := range n {
				if err := test.take(tokens, i); err != nil {
					t.Fatal(err)
				}
			}
			grown := float64(settledHeap()-before) / n
			reckoned := (memorySize(t, reader, test.holds) - heldBefore) / n
			t.Logf("%.0f bytes each, %.0f reckoned", grown, reckoned)
			if math.Abs(grown/reckoned-1) > 0.2 {
				t.Errorf("%.0f bytes each, and %.0f are reckoned, want them within 20 %%", grown, reckoned)
			}
			runtime.KeepAlive(tokens)
		})
	}
}

// settledHeap is what lives on the heap when what is not needed any more is gone, clean-ups and all.
func settledHeap() int64 {
	least := int64(math.MaxInt64)
	for range 6 {
		least = min(least, heap())
		time.Sleep(20 * time.Millisecond)
	}
	return least
}

// memorySize is what the library reckons that a memory of it takes.
func memorySize(t *testing.T, reader metric.Reader, holds string) float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "msalredis.memory.size" {
				continue
			}
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				if v, _ := p.Attributes.Value("msalredis.holds"); v.AsString() == holds {
					return float64(p.Value)
				}
			}
		}
	}
	t.Fatal("the library does not say")
	return 0
}
