package msalredisotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// Telemetry is set as [msalredis.Options.Telemetry]. Its zero value gives metrics and spans to OpenTelemetry's global
// providers. Set those before the Cache is made, or counters do not begin at 0. Several Caches may have one Telemetry,
// or one provider; then levels, such as the clock's offset, are those of one of them.
type Telemetry struct {
	// MeterProvider is where metrics go. Default: otel.GetMeterProvider.
	MeterProvider metric.MeterProvider

	// TracerProvider is where spans go. Default: otel.GetTracerProvider.
	TracerProvider trace.TracerProvider
}

var _ msalredis.Telemetry = Telemetry{}

const scope = "github.com/msal-redis/msal-redis-go/msalredis"

// Recorder is called by [msalredis.New], and not by applications.
func (t Telemetry) Recorder(ahead []string) (telemetry.Recorder, error) {
	if t.MeterProvider == nil {
		t.MeterProvider = otel.GetMeterProvider()
	}
	if t.TracerProvider == nil {
		t.TracerProvider = otel.GetTracerProvider()
	}
	r := &recorder{
		tracer: t.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		meter:  t.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL)),
	}
	if err := r.make(r.meter); err != nil {
		return nil, err
	}
	r.begin(ahead)
	return r, nil
}

// recorder records what happens in one Cache.
type recorder struct {
	tracer trace.Tracer
	meter  metric.Meter
	instruments
	collected metric.Registration
}

func (r *recorder) Collect(levels telemetry.Levels) error {
	var err error
	r.collected, err = observe(r.meter, levels)
	return err
}

func (r *recorder) Close() error {
	if r.collected == nil {
		return nil
	}
	return r.collected.Unregister()
}

func (r *recorder) GateAnswered(ctx context.Context, grant, outcome string, began time.Time) {
	r.gate.Record(ctx, seconds(began), metric.WithAttributes(grantKey.String(grant), outcomeKey.String(outcome)))
}

func (r *recorder) TokenRequested(ctx context.Context, grant, failure string, began time.Time) {
	attributes := []attribute.KeyValue{grantKey.String(grant)}
	if failure != "" {
		attributes = append(attributes, errorKey.String(failure))
	}
	r.tokenRequest.Record(ctx, seconds(began), metric.WithAttributes(attributes...))
}

func (r *recorder) RefreshedAhead(ctx context.Context, outcome string) {
	r.ahead.Add(ctx, 1, metric.WithAttributes(outcomeKey.String(outcome)))
}

func (r *recorder) LockWaited(ctx context.Context, outcome string, began time.Time) {
	r.lockWait.Record(ctx, seconds(began), metric.WithAttributes(outcomeKey.String(outcome)))
}

func (r *recorder) LockLost(ctx context.Context) { r.lockLosses.Add(ctx, 1) }

func (r *recorder) RedisFailed(why telemetry.RedisFailure) { count(r.redisErrors, errorKey, why) }

func (r *recorder) Unreadable(why telemetry.Unreadable) { count(r.unreadable, errorKey, why) }

func (r *recorder) Unsealed(what telemetry.Record) { count(r.unsealed, recordKey, what) }

func (r *recorder) Wrote(what telemetry.Write) { count(r.writes, outcomeKey, what) }

func (r *recorder) Sealed(what telemetry.Record, size int) {
	r.recordSize.Record(context.Background(), int64(size), metric.WithAttributes(recordKey.String(string(what))))
}

// seconds is how long something took, as OpenTelemetry wants it.
func seconds(since time.Time) float64 { return time.Since(since).Seconds() }
