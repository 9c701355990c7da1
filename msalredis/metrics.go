package msalredis

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/serializer"
)

const scope = "github.com/msal-redis/msal-redis-go/msalredis"

// metrics are the counters of a Cache. Attributes are of small fixed sets; none names a user, tenant or client.
type metrics struct {
	tracer        trace.Tracer
	tokenRequests metric.Int64Counter
	gate          metric.Int64Counter
	redisErrors   metric.Int64Counter
	unreadables   metric.Int64Counter
	writes        metric.Int64Counter

	// Look-ups by where a partition was found: in MSAL's memory, in this process, in Redis, nowhere; unknown where
	// Redis did not tell. Plain counts, read when metrics are collected: a hit costs less than noting it would.
	hits, known, found, absent, unknown atomic.Int64
	collected                           metric.Registration
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
	lookups, err := meter.Int64ObservableCounter("msalredis.lookups", metric.WithUnit("{lookup}"), metric.WithDescription("Look-ups of a partition, by where it was found"))
	errs = append(errs, err)
	counter(&m.tokenRequests, "msalredis.token_requests", "{request}", "Requests sent to the token endpoint, by grant and outcome")
	counter(&m.gate, "msalredis.gate.answers", "{answer}", "Token requests of MSAL that the gate answered, by how")
	counter(&m.redisErrors, "msalredis.redis.errors", "{error}", "Redis operations that failed, by kind")
	counter(&m.unreadables, "msalredis.records.unreadable", "{record}", "Stored values that could not be opened or read, by reason")
	counter(&m.writes, "msalredis.writes", "{write}", "Writes with an outcome other than stored")
	levels := map[string]*atomic.Int64{"memory": &m.hits, "process": &m.known, "redis": &m.found, "nowhere": &m.absent, "unknown": &m.unknown}
	m.collected, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for level, n := range levels {
			o.ObserveInt64(lookups, n.Load(), metric.WithAttributes(attribute.String("found", level)))
		}
		return nil
	}, lookups)
	errs = append(errs, err)
	return m, errors.Join(errs...)
}

func (m *metrics) read(err error, s *snapshot) {
	switch {
	case err != nil:
		m.unknown.Add(1)
	case s != nil && len(s.entries) > 0:
		m.found.Add(1)
	default:
		m.absent.Add(1)
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
