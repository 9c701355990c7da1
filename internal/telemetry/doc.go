// Package telemetry is what the library tells of itself: what it counts, measures and traces, given to a [Recorder],
// and its log lines. docs/observability.md has them by the names that operators see.
//
// It owns the names of spans, the names of the attributes of spans, and the values that kinds of failures and of
// writes may have. It knows nothing of what it tells of: kinds of failures are given to it by who knows the failure,
// and what is read when metrics are collected is given to it as functions ([Levels]). Nor does it know where things
// go: package msalredisotel, a module of its own, gives them to OpenTelemetry. It imports no other package of the
// project.
//
// # Invariants
//
//   - No attribute and no span names a user, a tenant or a client; a failed span has the kind of its failure, never an
//     error's text.
//   - A hit in MSAL's memory costs one atomic addition ([Lookups]): no metric is recorded and no span begun.
//   - A log handler that panics loses its record, not the process.
//
// # Concurrency
//
// Everything is safe for concurrent use. There is no mutex here. A Recorder calls the functions of [Levels] whenever it
// likes, in its goroutines. They may take locks of their owners; nothing here is called back from under them.
package telemetry
