package msalredisotel

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// spanRedis is followed by the script's name: {db.operation.name} {target}, as the conventions for databases want.
// https://opentelemetry.io/docs/specs/semconv/database/database-spans/
const spanRedis = "EVALSHA"

// span is one of OpenTelemetry's.
type span struct{ trace.Span }

// Start implements [telemetry.Recorder].
func (r *recorder) Start(
	ctx context.Context, name telemetry.SpanName, attributes ...slog.Attr,
) (context.Context, telemetry.Span) {
	kind := trace.SpanKindInternal
	if name == telemetry.SpanTokenRequest {
		kind = trace.SpanKindClient
	}
	ctx, s := r.tracer.Start(ctx, string(name), trace.WithSpanKind(kind), trace.WithAttributes(converted(attributes)...))
	return ctx, span{s}
}

func (s span) Set(attributes ...slog.Attr) { s.SetAttributes(converted(attributes)...) }

func (s span) Failed(kind string) {
	if kind != "" {
		s.SetAttributes(errorKey.String(kind))
		s.SetStatus(codes.Error, kind)
	}
}

func (s span) Link(to telemetry.Span) {
	if to, ok := to.(span); ok && to.SpanContext().IsValid() {
		s.AddLink(trace.Link{SpanContext: to.SpanContext()})
	}
}

func (s span) Under(ctx context.Context) context.Context {
	return trace.ContextWithSpanContext(ctx, s.SpanContext())
}

func (s span) End() { s.Span.End() }

func converted(attributes []slog.Attr) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(attributes))
	for _, a := range attributes {
		switch key := attribute.Key(a.Key); a.Value.Kind() {
		case slog.KindBool:
			out = append(out, key.Bool(a.Value.Bool()))
		case slog.KindInt64:
			out = append(out, key.Int64(a.Value.Int64()))
		default:
			out = append(out, key.String(a.Value.String()))
		}
	}
	return out
}

// Script implements [telemetry.Recorder]. It begins no trace: what the Cache does by itself, like looking again at a
// partition in use, would make one every few seconds.
func (r *recorder) Script(ctx context.Context, name string) (context.Context, func(telemetry.RedisFailure)) {
	began := time.Now()
	var s trace.Span
	if trace.SpanContextFromContext(ctx).IsValid() {
		ctx, s = r.tracer.Start(ctx, spanRedis+" "+name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			semconv.DBSystemNameRedis, semconv.DBOperationName(spanRedis), scriptKey.String(name)))
	}
	return ctx, func(failure telemetry.RedisFailure) {
		attributes := []attribute.KeyValue{scriptKey.String(name)}
		if failure != "" {
			attributes = append(attributes, errorKey.String(string(failure)))
		}
		r.redis.Record(ctx, seconds(began), metric.WithAttributes(attributes...))
		if s != nil {
			span{s}.Failed(string(failure))
			s.End()
		}
	}
}
