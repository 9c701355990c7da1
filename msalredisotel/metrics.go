package msalredisotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// Attributes of metrics. Their values are of small fixed sets; none names a user, tenant or client.
// docs/observability.md lists them.
const (
	grantKey   = attribute.Key(telemetry.KeyGrant)
	outcomeKey = attribute.Key(telemetry.KeyOutcome)
	foundKey   = attribute.Key("msalredis.found")
	recordKey  = attribute.Key("msalredis.record")
	holdsKey   = attribute.Key("msalredis.holds")
	scriptKey  = semconv.DBStoredProcedureNameKey
	errorKey   = semconv.ErrorTypeKey
)

// instruments are what is counted and measured. Names, units and attributes follow OpenTelemetry's semantic conventions
// (https://opentelemetry.io/docs/specs/semconv/general/metrics/): UCUM units, durations as histograms in seconds.
type instruments struct {
	gate         metric.Float64Histogram
	tokenRequest metric.Float64Histogram
	ahead        metric.Int64Counter
	lockWait     metric.Float64Histogram
	lockLosses   metric.Int64Counter
	redis        metric.Float64Histogram
	redisErrors  metric.Int64Counter
	unreadable   metric.Int64Counter
	unsealed     metric.Int64Counter
	writes       metric.Int64Counter
	recordSize   metric.Int64Histogram
}

// Boundaries: from an answer out of Redis, a few hundred microseconds, to the longest wait at the gate; and from the
// smallest entry to what a record may grow to.
var (
	redisSeconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}
	waitSeconds  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 75}
	recordBytes  = []float64{256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}
)

func (m *instruments) make(meter metric.Meter) error {
	var errs []error
	counter := func(to *metric.Int64Counter, name, unit, description string) {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		*to = c
		errs = append(errs, err)
	}
	duration := func(to *metric.Float64Histogram, name, description string, boundaries []float64) {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(boundaries...))
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
	counter(&m.unreadable, "msalredis.records.unreadable", "{record}", "Stored values that could not be opened or read")
	counter(&m.unsealed, "msalredis.records.unsealed", "{record}",
		"Values that could not be sealed, and so are not shared")
	counter(&m.writes, "msalredis.writes", "{write}", "Writes of tokens to a partition")
	h, err := meter.Int64Histogram("msalredis.record.size", metric.WithUnit("By"),
		metric.WithDescription("Sealed values on their way to Redis"), metric.WithExplicitBucketBoundaries(recordBytes...))
	m.recordSize = h
	return errors.Join(append(errs, err)...)
}

// begin makes every counter begin at 0 with each of its attributes: a backend sees no growth in one that begins at
// 5,000.
func (m *instruments) begin(ahead []string) {
	begin(m.ahead, outcomeKey, ahead...)
	begin(m.redisErrors, errorKey, telemetry.RedisAway, telemetry.RedisRefused)
	begin(m.unreadable, errorKey, telemetry.UnknownKey, telemetry.NewerVersion, telemetry.Moved, telemetry.Corrupt,
		telemetry.Malformed)
	begin(m.unsealed, recordKey, telemetry.Entry, telemetry.Answer)
	begin(m.writes, outcomeKey, telemetry.Stored, telemetry.Kept, telemetry.Dropped, telemetry.RefusedAfterSignOut,
		telemetry.Restored, telemetry.OfUnknownKey)
	m.lockLosses.Add(context.Background(), 0)
}

func begin[V ~string](c metric.Int64Counter, key attribute.Key, values ...V) {
	for _, v := range values {
		add(c, 0, key, v)
	}
}

func count[V ~string](c metric.Int64Counter, key attribute.Key, value V) { add(c, 1, key, value) }

func add[V ~string](c metric.Int64Counter, n int64, key attribute.Key, value V) {
	c.Add(context.Background(), n, metric.WithAttributes(key.String(string(value))))
}

// observe registers what is read when metrics are collected.
func observe(meter metric.Meter, levels telemetry.Levels) (metric.Registration, error) {
	var errs []error
	lookups, err := meter.Int64ObservableCounter("msalredis.lookups", metric.WithUnit("{lookup}"),
		metric.WithDescription("Look-ups of a partition"))
	errs = append(errs, err)
	level := func(name, unit, description string) metric.Int64ObservableUpDownCounter {
		g, err := meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return g
	}
	breakers := level("msalredis.redis.open_breakers", "{breaker}", "1 while Redis counts as away, else 0")
	held := level("msalredis.memory.size", "By", "Memory for what this process knows")
	waiting := level("msalredis.pending.writes", "{write}", "Writes that wait for Redis to take them")
	bytes := level("msalredis.pending.size", "By", "Memory for writes that wait for Redis")
	signouts := level("msalredis.pending.signouts", "{signout}", "Sign-outs that have not reached Redis")
	offset, err := meter.Float64ObservableGauge("msalredis.clock.offset", metric.WithUnit("s"),
		metric.WithDescription("Redis's time less this process's"))
	errs = append(errs, err)
	in := func(where string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(foundKey.String(where)))
	}
	holds := func(what string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(holdsKey.String(what)))
	}
	collected, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(lookups, levels.Lookups.Memory.Load(), in("memory"))
		o.ObserveInt64(lookups, levels.Lookups.Process.Load(), in("process"))
		o.ObserveInt64(lookups, levels.Lookups.Redis.Load(), in("redis"))
		o.ObserveInt64(lookups, levels.Lookups.Nowhere.Load(), in("nowhere"))
		o.ObserveInt64(lookups, levels.Lookups.Unknown.Load(), in("unknown"))
		open := int64(0)
		if levels.RedisAway() {
			open = 1
		}
		o.ObserveInt64(breakers, open)
		o.ObserveInt64(held, levels.Partitions(), holds("partitions"))
		o.ObserveInt64(held, levels.Answers(), holds("answers"))
		o.ObserveInt64(held, levels.Discovery(), holds("discovery"))
		n, must, size := levels.Waiting()
		o.ObserveInt64(waiting, n)
		o.ObserveInt64(signouts, must)
		o.ObserveInt64(bytes, size)
		if d, known := levels.ClockOffset(); known {
			o.ObserveFloat64(offset, d.Seconds())
		}
		return nil
	}, lookups, breakers, held, waiting, bytes, signouts, offset)
	return collected, errors.Join(append(errs, err)...)
}
