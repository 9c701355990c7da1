package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Spans of one acquisition, where MSAL has no token:
//
//	the caller's
//	├── msalredis.replace            what is known of the partition, unless MSAL holds it already
//	│   └── EVALSHA load
//	└── msalredis.gate               the caller's wait for an answer
//	    └── msalredis.acquire        the flight that brings it; other callers' gates link to it
//	        ├── EVALSHA look
//	        ├── msalredis.lock       taking the lease, or waiting for its holder's answer
//	        ├── msalredis.token_request
//	        └── EVALSHA respond, store
//
// A flight is not bound to the caller that began it, so it may end after its parent. A hit has no span. The status of a
// span that failed says of which kind, never with an error's text: a transport's names the address, and so the tenant.
const (
	SpanReplace      = "msalredis.replace"
	SpanGate         = "msalredis.gate"
	SpanAcquire      = "msalredis.acquire"
	SpanLock         = "msalredis.lock"
	SpanTokenRequest = "msalredis.token_request"

	// followed by the script's name: {db.operation.name} {target}, as the conventions for databases want
	spanRedis = "EVALSHA"
)

// Start begins a span.
func (r *Recorder) Start(
	ctx context.Context, name string, attributes ...attribute.KeyValue,
) (context.Context, trace.Span) {
	return r.tracer.Start(ctx, name, trace.WithAttributes(attributes...))
}

// StartClient begins the span of a request to another server.
func (r *Recorder) StartClient(
	ctx context.Context, name string, attributes ...attribute.KeyValue,
) (context.Context, trace.Span) {
	return r.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
}

// Failed marks a span with the kind of a failure; "": none.
func Failed(span trace.Span, kind string) {
	if kind != "" {
		span.SetAttributes(errorKey.String(kind))
		span.SetStatus(codes.Error, kind)
	}
}

// Under gives ctx the span of another context as parent, and nothing else of it.
func Under(ctx context.Context, span trace.Span) context.Context {
	return trace.ContextWithSpanContext(ctx, span.SpanContext())
}

// Script begins the measure of a script's run; the returned function ends it. It begins no trace: what the Cache does
// by itself, like looking again at a partition in use, would make one every few seconds.
func (r *Recorder) Script(ctx context.Context, name string) (context.Context, func(RedisFailure)) {
	began := time.Now()
	var span trace.Span
	if trace.SpanContextFromContext(ctx).IsValid() {
		ctx, span = r.StartClient(ctx, spanRedis+" "+name,
			semconv.DBSystemNameRedis, semconv.DBOperationName(spanRedis), scriptKey.String(name))
	}
	return ctx, func(failure RedisFailure) {
		attributes := []attribute.KeyValue{scriptKey.String(name)}
		if failure != "" {
			attributes = append(attributes, errorKey.String(string(failure)))
		}
		r.redis.Record(ctx, seconds(began), metric.WithAttributes(attributes...))
		if span != nil {
			Failed(span, string(failure))
			span.End()
		}
	}
}
