package msalredis

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/internal/layout"
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
	spanReplace      = "msalredis.replace"
	spanGate         = "msalredis.gate"
	spanAcquire      = "msalredis.acquire"
	spanLock         = "msalredis.lock"
	spanTokenRequest = "msalredis.token_request"
	spanRedis        = "EVALSHA" // and the script's name: {db.operation.name} {target}, as the conventions for databases want
)

const backgroundKey = attribute.Key("msalredis.background")

func (m *metrics) start(ctx context.Context, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	return m.tracer.Start(ctx, name, trace.WithAttributes(attributes...))
}

// failed marks a span with the kind of a failure; "": none.
func failed(span trace.Span, kind string) {
	if kind != "" {
		span.SetAttributes(errorKey.String(kind))
		span.SetStatus(codes.Error, kind)
	}
}

// under gives ctx the span of another context as parent, and nothing else of it.
func under(ctx context.Context, span trace.Span) context.Context {
	return trace.ContextWithSpanContext(ctx, span.SpanContext())
}

var scriptNames = map[*redis.Script]string{
	layout.LoadScript: "load", layout.StoreScript: "store", layout.SignoutScript: "signout", layout.LookScript: "look",
	layout.RespondScript: "respond", layout.ForgetScript: "forget", layout.EnlistScript: "enlist",
	layout.DiscardScript: "discard",
}

// runs begins the measure of a script's run; the returned function ends it. It begins no trace: what the Cache does by
// itself, like looking again at a partition in use, would make one every few seconds.
func (m *metrics) runs(ctx context.Context, script *redis.Script) (context.Context, func(error)) {
	name, began := scriptNames[script], time.Now()
	var span trace.Span
	if trace.SpanContextFromContext(ctx).IsValid() {
		ctx, span = m.tracer.Start(ctx, spanRedis+" "+name, trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(semconv.DBSystemNameRedis, semconv.DBOperationName(spanRedis), scriptKey.String(name)))
	}
	return ctx, func(err error) {
		m.ran(ctx, name, err, began)
		if span == nil {
			return
		}
		if err != nil {
			failed(span, redisFailure(err))
		}
		span.End()
	}
}
