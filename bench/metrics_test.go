package bench

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
)

// BenchmarkHitMetrics is a hit of this library without OpenTelemetry, and with its SDK: a meter whose reader collects
// every ten milliseconds, a thousand times as often as most, and a tracer that samples everything. They take turns, as
// in BenchmarkHit.
func BenchmarkHitMetrics(b *testing.B) {
	w := newWorld(b)
	reader := metric.NewManualReader()
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	defer meters.Shutdown(context.Background())
	tracers := trace.NewTracerProvider(trace.WithSampler(trace.AlwaysSample()))
	defer tracers.Shutdown(context.Background())
	measured := configured("this library, measured", encrypted,
		&msalredis.Options{
			Telemetry: msalredisotel.Telemetry{MeterProvider: meters, TracerProvider: tracers},
		})
	type turn struct {
		contender
		call func()
		took time.Duration
	}
	const calls = 500 // in one turn
	var turns []*turn
	for _, c := range []contender{library, measured} {
		app := w.app(b, w.with(b, c, w.entra.Transport()), tenantName(0))
		call := func() {
			if _, err := app.AcquireTokenByCredential(context.Background(), scopes(graph)); err != nil {
				b.Fatal(err)
			}
		}
		call()
		turns = append(turns, &turn{contender: c, call: call})
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				var all metricdata.ResourceMetrics
				if err := reader.Collect(context.Background(), &all); err != nil || len(all.ScopeMetrics) == 0 {
					b.Error("nothing is measured", err)
					return
				}
			case <-stop:
				return
			}
		}
	}()
	for b.Loop() {
		for _, t := range turns {
			begun := time.Now()
			for range calls {
				t.call()
			}
			t.took += time.Since(begun)
		}
	}
	close(stop)
	<-stopped
	for i, t := range turns {
		ns := float64(t.took) / float64(b.N*calls)
		b.ReportMetric(ns, []string{"without-ns/op", "with-ns/op"}[i])
		results.add("hit, with and without OpenTelemetry", t.name, b.N, ns)
	}
}
