package bench

import (
	"context"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
)

const memoryPerUser = "memory of the process, each of 2,000 users"

// BenchmarkReckoned is what a process's memory grows by with each user whose tokens it has read from Redis, or stored,
// beside what the library reckons by, which is what LocalBytes bounds. Its time means nothing.
func BenchmarkReckoned(b *testing.B) {
	const users = 2_000
	w := newWorld(b)
	s := w.userSeed(b)
	seeds := make([]seed, users)
	for i := range seeds {
		seeds[i] = s.as(i, user.ObjectID, objectID(i))
	}
	w.knowing(b, library, w.entra.Transport(), seeds) // they are in Redis
	for b.Loop() {
	}
	plain := grown(func() any {
		app := w.app(b, w.knowing(b, nothing, w.entra.Transport(), seeds), tenantName(0))
		if err := silently(app, 0); err != nil {
			b.Fatal(err)
		}
		return app
	}) / users
	results.add(memoryPerUser, nothing.name, 1, 0, "bytes", plain)

	for _, how := range []struct {
		name string
		take func(process, seed) error
	}{
		{library.name, func(p process, s seed) error {
			var u document // MSAL's memory of it, which goes at once
			return p.accessor.Replace(context.Background(), &u, cache.ReplaceHints{PartitionKey: s.key})
		}},
		{library.name + ", which stored them", func(p process, s seed) error {
			return p.accessor.Export(context.Background(), &s.document, cache.ExportHints{PartitionKey: s.key})
		}},
	} {
		reader := metric.NewManualReader()
		p := w.with(b, configured(library.name, encrypted, &msalredis.Options{
			Telemetry: msalredisotel.Telemetry{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))},
		}), w.entra.Transport())
		got := grown(func() any {
			for _, s := range seeds {
				if err := how.take(p, s); err != nil {
					b.Fatal(err)
				}
			}
			return p
		}) / users
		reckoned := held(b, reader) / users
		results.add(memoryPerUser, how.name, 1, 0, "bytes", got, "bytes reckoned", reckoned,
			"percent that this is off", math.Abs(got/reckoned-1)*100)
	}
	runtime.KeepAlive(seeds) // or they go while the memory is measured
}

// grown is by how much the heap is larger for what is made.
func grown(made func() any) float64 {
	heap := func() float64 {
		least := math.Inf(1)
		for range 10 { // what has a finalizer, and what that has held, goes some collections later
			runtime.GC()
			time.Sleep(20 * time.Millisecond)
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			least = min(least, float64(m.HeapAlloc))
		}
		return least
	}
	before, kept := heap(), made()
	after := heap()
	runtime.KeepAlive(kept)
	return after - before
}

func (d *document) Unmarshal(text []byte) error { *d = text; return nil }

// held is what the library reckons that its knowledge of partitions takes.
func held(b *testing.B, reader metric.Reader) float64 {
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		b.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "msalredis.memory.size" {
				continue
			}
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				if v, _ := p.Attributes.Value("msalredis.holds"); v.AsString() == "partitions" {
					return float64(p.Value)
				}
			}
		}
	}
	b.Fatal("the library does not say")
	return 0
}
