package msalredis

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/msal-redis/msal-redis-go/lock"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const scope = "github.com/msal-redis/msal-redis-go/msalredis"

// Attributes are of small fixed sets; none names a user, tenant or client. docs/observability.md lists their values.
const (
	foundKey   = attribute.Key("msalredis.found")
	grantKey   = attribute.Key("msalredis.grant")
	outcomeKey = attribute.Key("msalredis.outcome")
	recordKey  = attribute.Key("msalredis.record")
	holdsKey   = attribute.Key("msalredis.holds")
	scriptKey  = semconv.DBStoredProcedureNameKey
	errorKey   = semconv.ErrorTypeKey
)

// Values of attributes of which outcome.go says nothing.
const (
	aheadRefreshed   = "refreshed"
	redisAway        = "away"
	redisRefused     = "refused"
	recordUnknownKey = "unknown_key"
	recordNewer      = "newer_version"
	recordMoved      = "moved"
	recordCorrupt    = "corrupt"
	recordMalformed  = "malformed"
	recordEntry      = "entry"
	recordAnswer     = "answer"
	writeStored      = "stored"
	writeKept        = "kept"
	writeDropped     = "dropped"
	writeRefused     = "refused_after_signout"
	writeRestored    = "restored"
	writeUnknownKey  = "unknown_key"
)

// metrics are what a Cache counts and measures. Names, units and attributes follow OpenTelemetry's semantic conventions
// (https://opentelemetry.io/docs/specs/semconv/general/metrics/): UCUM units, durations as histograms in seconds.
type metrics struct {
	tracer       trace.Tracer
	meter        metric.Meter
	gate         metric.Float64Histogram
	tokenRequest metric.Float64Histogram
	ahead        metric.Int64Counter
	lockWait     metric.Float64Histogram
	lockLosses   metric.Int64Counter
	redis        metric.Float64Histogram
	redisErrors  metric.Int64Counter
	unreadables  metric.Int64Counter
	unsealed     metric.Int64Counter
	writes       metric.Int64Counter
	recordSize   metric.Int64Histogram

	// Look-ups by where a partition was found: in MSAL's memory, in this process, in Redis, nowhere; unknown where
	// Redis did not tell. Plain counts, read when metrics are collected: a hit costs less than noting it would.
	hits, known, found, absent, unknown atomic.Int64
	collected                           metric.Registration
}

// Boundaries: from an answer out of Redis, a few hundred microseconds, to postAtMost; and from the smallest entry to what a
// record may grow to.
var (
	redisSeconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}
	waitSeconds  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 75}
	recordBytes  = []float64{256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}
)

func newMetrics(mp metric.MeterProvider, tp trace.TracerProvider) (*metrics, error) {
	meter := mp.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	m := &metrics{tracer: tp.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)), meter: meter}
	var errs []error
	counter := func(to *metric.Int64Counter, name, unit, description string) {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		*to = c
		errs = append(errs, err)
	}
	duration := func(to *metric.Float64Histogram, name, description string, boundaries []float64) {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(boundaries...))
		*to = h
		errs = append(errs, err)
	}
	duration(&m.gate, "msalredis.gate.duration", "Token requests of MSAL that the gate answered", waitSeconds)
	duration(&m.tokenRequest, "msalredis.token_request.duration", "Requests sent to the token endpoint", waitSeconds)
	counter(&m.ahead, "msalredis.refreshes_ahead", "{refresh}", "Refreshes in the background, while the old token served")
	duration(&m.lockWait, "msalredis.lock.wait.duration", "Waits for another instance that holds the lease", waitSeconds)
	counter(&m.lockLosses, "msalredis.lock.losses", "{lease}", "Leases that ended before their work did")
	duration(&m.redis, "msalredis.redis.operation.duration", "Scripts run in Redis", redisSeconds)
	counter(&m.redisErrors, "msalredis.redis.errors", "{error}", "Redis operations that failed")
	counter(&m.unreadables, "msalredis.records.unreadable", "{record}", "Stored values that could not be opened or read")
	counter(&m.unsealed, "msalredis.records.unsealed", "{record}", "Values that could not be sealed, and so are not shared")
	counter(&m.writes, "msalredis.writes", "{write}", "Writes of tokens to a partition")
	h, err := meter.Int64Histogram("msalredis.record.size", metric.WithUnit("By"), metric.WithDescription("Sealed values on their way to Redis"), metric.WithExplicitBucketBoundaries(recordBytes...))
	m.recordSize = h
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	m.begin()
	return m, nil
}

// begin makes every counter begin at 0 with each of its attributes: a backend sees no growth in one that begins at 5,000.
func (m *metrics) begin() {
	of := func(c metric.Int64Counter, key attribute.Key, values ...string) {
		for _, v := range values {
			c.Add(context.Background(), 0, metric.WithAttributes(key.String(v)))
		}
	}
	of(m.ahead, outcomeKey, aheadRefreshed, outcomeElsewhere, outcomeThrottled, outcomeRefused, outcomeFailed, outcomeStale)
	of(m.redisErrors, errorKey, redisAway, redisRefused)
	of(m.unreadables, errorKey, recordUnknownKey, recordNewer, recordMoved, recordCorrupt, recordMalformed)
	of(m.unsealed, recordKey, recordEntry, recordAnswer)
	of(m.writes, outcomeKey, writeStored, writeKept, writeDropped, writeRefused, writeRestored, writeUnknownKey)
	m.lockLosses.Add(context.Background(), 0)
}

// observe registers what is read when metrics are collected.
func (m *metrics) observe(c *Cache) error {
	var errs []error
	lookups, err := m.meter.Int64ObservableCounter("msalredis.lookups", metric.WithUnit("{lookup}"), metric.WithDescription("Look-ups of a partition"))
	errs = append(errs, err)
	level := func(name, unit, description string) metric.Int64ObservableUpDownCounter {
		g, err := m.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return g
	}
	breakers := level("msalredis.redis.open_breakers", "{breaker}", "1 while Redis counts as away, else 0")
	held := level("msalredis.memory.size", "By", "Memory for what this process knows")
	waiting := level("msalredis.pending.writes", "{write}", "Writes that wait for Redis to take them")
	bytes := level("msalredis.pending.size", "By", "Memory for writes that wait for Redis")
	signouts := level("msalredis.pending.signouts", "{signout}", "Sign-outs that have not reached Redis")
	offset, err := m.meter.Float64ObservableGauge("msalredis.clock.offset", metric.WithUnit("s"), metric.WithDescription("Redis's time less this process's"))
	errs = append(errs, err)
	found := func(where string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(foundKey.String(where)))
	}
	holds := func(what string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(holdsKey.String(what)))
	}
	m.collected, err = m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(lookups, m.hits.Load(), found("memory"))
		o.ObserveInt64(lookups, m.known.Load(), found("process"))
		o.ObserveInt64(lookups, m.found.Load(), found("redis"))
		o.ObserveInt64(lookups, m.absent.Load(), found("nowhere"))
		o.ObserveInt64(lookups, m.unknown.Load(), found("unknown"))
		open := int64(0)
		if c.store.away.Load() {
			open = 1
		}
		o.ObserveInt64(breakers, open)
		o.ObserveInt64(held, int64(c.partitions.known.WeightedSize()), holds("partitions"))
		o.ObserveInt64(held, int64(c.answers.known.WeightedSize()), holds("answers"))
		o.ObserveInt64(held, int64(c.discovery.known.WeightedSize()), holds("discovery"))
		n, must, size := c.pending.waitingNow()
		o.ObserveInt64(waiting, n)
		o.ObserveInt64(signouts, must)
		o.ObserveInt64(bytes, size)
		if d, known := c.clock.apart(); known {
			o.ObserveFloat64(offset, d.Seconds())
		}
		return nil
	}, lookups, breakers, held, waiting, bytes, signouts, offset)
	return errors.Join(append(errs, err)...)
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

// seconds is how long something took, as OpenTelemetry wants it.
func seconds(since time.Time) float64 { return time.Since(since).Seconds() }

func (m *metrics) answered(ctx context.Context, grant, outcome string, began time.Time) {
	m.gate.Record(ctx, seconds(began), metric.WithAttributes(grantKey.String(grant), outcomeKey.String(outcome)))
}

func (m *metrics) requested(ctx context.Context, grant, failure string, began time.Time) {
	attributes := []attribute.KeyValue{grantKey.String(grant)}
	if failure != "" {
		attributes = append(attributes, errorKey.String(failure))
	}
	m.tokenRequest.Record(ctx, seconds(began), metric.WithAttributes(attributes...))
}

func (m *metrics) refreshedAhead(ctx context.Context, outcome string) {
	switch outcome {
	case outcomeAsked:
		outcome = aheadRefreshed
	case outcomeShared, outcomeWaited:
		outcome = outcomeElsewhere // another instance was quicker
	}
	m.ahead.Add(ctx, 1, metric.WithAttributes(outcomeKey.String(outcome)))
}

func (m *metrics) waited(ctx context.Context, outcome string, began time.Time) {
	m.lockWait.Record(ctx, seconds(began), metric.WithAttributes(outcomeKey.String(outcome)))
}

func (m *metrics) lockLost(ctx context.Context) { m.lockLosses.Add(ctx, 1) }

func (m *metrics) ran(ctx context.Context, script string, err error, began time.Time) {
	attributes := []attribute.KeyValue{scriptKey.String(script)}
	if err != nil {
		attributes = append(attributes, errorKey.String(redisFailure(err)))
	}
	m.redis.Record(ctx, seconds(began), metric.WithAttributes(attributes...))
}

// redisFailure is the kind of an error of Redis.
func redisFailure(err error) string {
	if isAway(err) {
		return redisAway
	}
	return redisRefused
}

func (m *metrics) redisError(err error) {
	m.redisErrors.Add(context.Background(), 1, metric.WithAttributes(errorKey.String(redisFailure(err))))
}

// tokenFailure is the kind of a token request that brought no token: the status, or that there was no answer.
func tokenFailure(a *answer) string {
	switch {
	case a.err != nil && (errors.Is(a.err, context.DeadlineExceeded) || isTimeout(a.err)):
		return "timeout"
	case a.err != nil:
		return "unreachable"
	case a.Own:
		return "not_entra_id"
	case a.Status != 200:
		return strconv.Itoa(a.Status)
	}
	return ""
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func (m *metrics) unreadable(err error) {
	reason := recordMalformed
	switch {
	case errors.Is(err, serializer.ErrUnknownKey):
		reason = recordUnknownKey
	case errors.Is(err, serializer.ErrVersion):
		reason = recordNewer
	case errors.Is(err, serializer.ErrAssociatedData):
		reason = recordMoved
	case errors.Is(err, serializer.ErrCorrupt):
		reason = recordCorrupt
	}
	m.unreadables.Add(context.Background(), 1, metric.WithAttributes(errorKey.String(reason)))
}

// sealed counts a value by what it is, and one that could not be sealed.
func (m *metrics) sealed(record string, size int, err error) {
	as := metric.WithAttributes(recordKey.String(record))
	if err != nil {
		m.unsealed.Add(context.Background(), 1, as)
		return
	}
	m.recordSize.Record(context.Background(), int64(size), as)
}

func (m *metrics) write(outcome string) {
	m.writes.Add(context.Background(), 1, metric.WithAttributes(outcomeKey.String(outcome)))
}
func (m *metrics) stored()   { m.write(writeStored) }
func (m *metrics) kept()     { m.write(writeKept) }
func (m *metrics) refused()  { m.write(writeRefused) }
func (m *metrics) dropped()  { m.write(writeDropped) }
func (m *metrics) restored() { m.write(writeRestored) }

// unknownKey counts a token that was not written, because MSAL's key for it is of no form that this version knows.
func (m *metrics) unknownKey() { m.write(writeUnknownKey) }

// released counts a lease that was lost before its holder gave it back; one that the end of the Cache took is none.
func (m *metrics) released(ctx context.Context, err error, c *Cache) {
	if errors.Is(err, lock.ErrLost) && c.life.Err() == nil {
		m.lockLost(ctx)
		c.log.warn("a lease was lost while a token was asked for; another instance may have asked too")
	}
}
