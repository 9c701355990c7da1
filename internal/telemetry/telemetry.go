package telemetry

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Backend is where metrics and spans go. It makes a Recorder for each Cache.
type Backend interface {
	// Recorder makes one. Every counter begins at 0 with each value of its attribute; that of refreshes ahead with each of
	// the outcomes ahead.
	Recorder(ahead []string) (Recorder, error)
}

// Recorder records what happens in one Cache.
type Recorder interface {
	// Collect has levels read whenever metrics are collected, until Close.
	Collect(levels Levels) error
	// Close ends Collect.
	Close() error

	// GateAnswered records a token request of MSAL that the gate answered.
	GateAnswered(ctx context.Context, grant, outcome string, began time.Time)
	// TokenRequested records a request sent to the token endpoint; failure is the kind of one that brought no token,
	// else "".
	TokenRequested(ctx context.Context, grant, failure string, began time.Time)
	// RefreshedAhead counts a refresh in the background.
	RefreshedAhead(ctx context.Context, outcome string)
	// LockWaited records a wait for another instance that holds the lease.
	LockWaited(ctx context.Context, outcome string, began time.Time)
	// LockLost counts a lease that ended before its work did.
	LockLost(ctx context.Context)
	// RedisFailed counts an operation of Redis that failed.
	RedisFailed(why RedisFailure)
	// Unreadable counts a stored value that cannot be opened or read.
	Unreadable(why Unreadable)
	// Sealed records the size in bytes of a value on its way to Redis; Unsealed counts one that could not be sealed.
	Sealed(what Record, size int)
	Unsealed(what Record)
	// Wrote counts what became of a token on its way to Redis.
	Wrote(what Write)

	// Start begins a span, under that of ctx.
	Start(ctx context.Context, name SpanName, attributes ...slog.Attr) (context.Context, Span)
	// Script begins the measure of a script's run in Redis; the returned function ends it.
	Script(ctx context.Context, name string) (context.Context, func(RedisFailure))
}

// Span is a piece of work in a trace.
type Span interface {
	Set(attributes ...slog.Attr)
	// Failed marks the span with the kind of a failure; "": none.
	Failed(kind string)
	// Link tells that another span brought what this one waited for.
	Link(to Span)
	// Under gives ctx this span as parent, and nothing else of it.
	Under(ctx context.Context) context.Context
	End()
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

// Levels are what is read when metrics are collected.
type Levels struct {
	Lookups                        *Lookups
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

// SpanName is what a span is of. Spans of one acquisition, where MSAL has no token:
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
type SpanName string

const (
	SpanReplace      SpanName = "msalredis.replace"
	SpanGate         SpanName = "msalredis.gate"
	SpanAcquire      SpanName = "msalredis.acquire"
	SpanLock         SpanName = "msalredis.lock"
	SpanTokenRequest SpanName = "msalredis.token_request" // to another server
)

// Keys of attributes. Their values are of small fixed sets; none names a user, tenant or client. docs/observability.md
// lists them.
const (
	KeyBackground = "msalredis.background"
	KeyGrant      = "msalredis.grant"
	KeyOutcome    = "msalredis.outcome"
	KeyHTTPStatus = "http.response.status_code" // https://opentelemetry.io/docs/specs/semconv/http/http-spans/
)

// Grant is a token request's grant, Outcome how something ended, Background a flight that no caller waits for.
func Grant(grant string) slog.Attr         { return slog.String(KeyGrant, grant) }
func Outcome(outcome string) slog.Attr     { return slog.String(KeyOutcome, outcome) }
func Background(background bool) slog.Attr { return slog.Bool(KeyBackground, background) }
func HTTPStatus(status int) slog.Attr      { return slog.Int(KeyHTTPStatus, status) }
