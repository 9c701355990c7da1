package msalredis

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/serializer"
)

const scope = "github.com/msal-redis/msal-redis-go/msalredis"

// metrics are the counters of a Cache. Attributes are of small fixed sets; none names a user, tenant or client.
type metrics struct {
	tracer        trace.Tracer
	lookups       metric.Int64Counter
	tokenRequests metric.Int64Counter
	gate          metric.Int64Counter
	redisErrors   metric.Int64Counter
	unreadables   metric.Int64Counter
	writes        metric.Int64Counter

	hitMemory, hitProcess, hitRedis, miss, unknown metric.MeasurementOption
}

func newMetrics(mp metric.MeterProvider, tp trace.TracerProvider) (*metrics, error) {
	meter := mp.Meter(scope)
	m := &metrics{tracer: tp.Tracer(scope)}
	var errs []error
	counter := func(to *metric.Int64Counter, name, unit, description string) {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		*to = c
		errs = append(errs, err)
	}
	counter(&m.lookups, "msalredis.lookups", "{lookup}", "Look-ups of a partition, by where it was found")
	counter(&m.tokenRequests, "msalredis.token_requests", "{request}", "Requests sent to the token endpoint, by grant and outcome")
	counter(&m.gate, "msalredis.gate.answers", "{answer}", "Token requests of MSAL that the gate answered, by how")
	counter(&m.redisErrors, "msalredis.redis.errors", "{error}", "Redis operations that failed, by kind")
	counter(&m.unreadables, "msalredis.records.unreadable", "{record}", "Stored values that could not be opened or read, by reason")
	counter(&m.writes, "msalredis.writes", "{write}", "Writes with an outcome other than stored")
	where := func(v string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("found", v)))
	}
	m.hitMemory, m.hitProcess, m.hitRedis, m.miss, m.unknown = where("memory"), where("process"), where("redis"), where("nowhere"), where("unknown")
	return m, errors.Join(errs...)
}

func (m *metrics) hit(level string) {
	switch level {
	case "memory":
		m.lookups.Add(context.Background(), 1, m.hitMemory)
	default:
		m.lookups.Add(context.Background(), 1, m.hitProcess)
	}
}

func (m *metrics) read(err error, s *snapshot) {
	switch {
	case err != nil:
		m.lookups.Add(context.Background(), 1, m.unknown)
	case s != nil && len(s.entries) > 0:
		m.lookups.Add(context.Background(), 1, m.hitRedis)
	default:
		m.lookups.Add(context.Background(), 1, m.miss)
	}
}

func (m *metrics) tokenRequest(grant, outcome string) {
	m.tokenRequests.Add(context.Background(), 1, metric.WithAttributes(attribute.String("grant", grant), attribute.String("outcome", outcome)))
}

func (m *metrics) answered(how string) {
	m.gate.Add(context.Background(), 1, metric.WithAttributes(attribute.String("how", how)))
}

func (m *metrics) redisError(err error) {
	kind := "refused"
	if isAway(err) {
		kind = "away"
	}
	m.redisErrors.Add(context.Background(), 1, metric.WithAttributes(attribute.String("kind", kind)))
}

func (m *metrics) unreadable(err error) {
	reason := "malformed"
	switch {
	case errors.Is(err, serializer.ErrUnknownKey):
		reason = "unknown_key"
	case errors.Is(err, serializer.ErrVersion):
		reason = "newer_version"
	case errors.Is(err, serializer.ErrAssociatedData):
		reason = "moved"
	case errors.Is(err, serializer.ErrCorrupt):
		reason = "corrupt"
	}
	m.unreadables.Add(context.Background(), 1, metric.WithAttributes(attribute.String("reason", reason)))
}

func (m *metrics) write(outcome string) {
	m.writes.Add(context.Background(), 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}
func (m *metrics) refused()  { m.write("refused_after_signout") }
func (m *metrics) dropped()  { m.write("dropped") }
func (m *metrics) restored() { m.write("restored") }
