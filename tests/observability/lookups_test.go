package observability_test

import (
	"context"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// Look-ups are counted by where the partition was found.
func TestLookupsAreCounted(t *testing.T) {
	w := harness.NewWorld(t)
	ctx := context.Background()
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	with := func(o *msalredis.Options) { o.Telemetry = msalredisotel.Telemetry{MeterProvider: meters} }
	app := w.Instance(with).App()
	for range 10 {
		harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	}
	var m metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &m); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, s := range m.ScopeMetrics {
		for _, metric := range s.Metrics {
			if metric.Name != "msalredis.lookups" {
				continue
			}
			for _, p := range metric.Data.(metricdata.Sum[int64]).DataPoints {
				v, _ := p.Attributes.Value("msalredis.found")
				got[v.AsString()] = p.Value
			}
		}
	}
	// The first call looks twice: before the request, in Redis, and before MSAL writes, in the process, which knows that
	// a token has come. The second takes note of what the first has written.
	if got["nowhere"] != 1 || got["process"] != 2 || got["memory"] != 8 {
		t.Errorf("look-ups: %v, want 1 nowhere, 2 in the process and 8 in MSAL's memory", got)
	}
}
