package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Recorder records what happens in one Cache, as metrics and spans.
type Recorder struct {
	// Lookups is counted by who looks up.
	Lookups Lookups

	tracer trace.Tracer
	meter  metric.Meter
	instruments
	collected metric.Registration
}

// Lookups are look-ups of a partition by where it was found. They are plain counts, read when metrics are collected: a
// hit costs less than recording it would.
type Lookups struct {
	Memory  atomic.Int64 // MSAL's
	Process atomic.Int64
	Redis   atomic.Int64
	Nowhere atomic.Int64
	Unknown atomic.Int64 // Redis did not tell
}

// Levels are functions that are called when metrics are collected.
type Levels struct {
	RedisAway                      func() bool
	Partitions, Answers, Discovery func() int64                           // bytes
	Waiting                        func() (writes, signOuts, bytes int64) // what Redis has not taken yet
	ClockOffset                    func() (redisLessOurs time.Duration, known bool)
}

// Kinds of attributes whose values are a fixed set.
type (
	// RedisFailure is why an operation of Redis failed; "": it did not.
	RedisFailure string
	// Unreadable is why a stored value counts as missing.
	Unreadable string
	// Record is what a sealed value is.
	Record string
	// Write is what became of a token on its way to Redis.
	Write string
)

const (
	RedisAway    RedisFailure = "away"
	RedisRefused RedisFailure = "refused"

	UnknownKey   Unreadable = "unknown_key"
	NewerVersion Unreadable = "newer_version"
	Moved        Unreadable = "moved"
	Corrupt      Unreadable = "corrupt"
	Malformed    Unreadable = "malformed"

	Entry  Record = "entry"
	Answer Record = "answer"

	Stored              Write = "stored"
	Kept                Write = "kept"
	Dropped             Write = "dropped"
	RefusedAfterSignOut Write = "refused_after_signout"
	Restored            Write = "restored"
	OfUnknownKey        Write = "unknown_key" // MSAL's key for it is of no form that this version knows
)

// Grant is the attribute for a token request's grant, Outcome for how something ended, Background for a flight that no
// caller waits for. Their values are of small fixed sets: none names a user, tenant or client.
func Grant(grant string) attribute.KeyValue         { return grantKey.String(grant) }
func Outcome(outcome string) attribute.KeyValue     { return outcomeKey.String(outcome) }
func Background(background bool) attribute.KeyValue { return backgroundKey.Bool(background) }

// New makes a Recorder. The counter of refreshes ahead begins at 0 with each of the outcomes ahead.
func New(mp metric.MeterProvider, tp trace.TracerProvider, ahead ...string) (*Recorder, error) {
	r := &Recorder{
		tracer: tp.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		meter:  mp.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL)),
	}
	if err := r.make(r.meter); err != nil {
		return nil, err
	}
	r.begin(ahead)
	return r, nil
}

// Collect has levels read whenever metrics are collected, until Close.
func (r *Recorder) Collect(levels Levels) error {
	var err error
	r.collected, err = observe(r.meter, &r.Lookups, levels)
	return err
}

// Close ends Collect.
func (r *Recorder) Close() error {
	if r.collected == nil {
		return nil
	}
	return r.collected.Unregister()
}

// GateAnswered records a token request of MSAL that the gate answered.
func (r *Recorder) GateAnswered(ctx context.Context, grant, outcome string, began time.Time) {
	r.gate.Record(ctx, seconds(began), metric.WithAttributes(Grant(grant), Outcome(outcome)))
}

// TokenRequested records a request sent to the token endpoint; failure is the kind of one that brought no token, else
// "".
func (r *Recorder) TokenRequested(ctx context.Context, grant, failure string, began time.Time) {
	attributes := []attribute.KeyValue{Grant(grant)}
	if failure != "" {
		attributes = append(attributes, errorKey.String(failure))
	}
	r.tokenRequest.Record(ctx, seconds(began), metric.WithAttributes(attributes...))
}

// RefreshedAhead counts a refresh in the background.
func (r *Recorder) RefreshedAhead(ctx context.Context, outcome string) {
	r.ahead.Add(ctx, 1, metric.WithAttributes(Outcome(outcome)))
}

// LockWaited records a wait for another instance that holds the lease.
func (r *Recorder) LockWaited(ctx context.Context, outcome string, began time.Time) {
	r.lockWait.Record(ctx, seconds(began), metric.WithAttributes(Outcome(outcome)))
}

// LockLost counts a lease that ended before its work did.
func (r *Recorder) LockLost(ctx context.Context) { r.lockLosses.Add(ctx, 1) }

// RedisFailed counts an operation of Redis that failed.
func (r *Recorder) RedisFailed(why RedisFailure) {
	r.redisErrors.Add(context.Background(), 1, metric.WithAttributes(errorKey.String(string(why))))
}

// Unreadable counts a stored value that cannot be opened or read.
func (r *Recorder) Unreadable(why Unreadable) {
	r.unreadable.Add(context.Background(), 1, metric.WithAttributes(errorKey.String(string(why))))
}

// Sealed records a value on its way to Redis; Unsealed counts one that could not be sealed.
func (r *Recorder) Sealed(what Record, size int) {
	r.recordSize.Record(context.Background(), int64(size), metric.WithAttributes(recordKey.String(string(what))))
}

func (r *Recorder) Unsealed(what Record) {
	r.unsealed.Add(context.Background(), 1, metric.WithAttributes(recordKey.String(string(what))))
}

// Wrote counts what became of a token on its way to Redis.
func (r *Recorder) Wrote(what Write) {
	r.writes.Add(context.Background(), 1, metric.WithAttributes(outcomeKey.String(string(what))))
}

// seconds is how long something took, as OpenTelemetry wants it.
func seconds(since time.Time) float64 { return time.Since(since).Seconds() }
