// Package telemetry is what an operator sees of the library: metrics, spans and log lines, by the names and in the
// words of docs/observability.md.
//
// It owns the names of metrics, spans and attributes, their units, and the sets of values that attributes may have. It
// knows nothing of what it measures: kinds of failures are given to it by who knows the failure, and what is read when
// metrics are collected is given to it as functions ([Levels]). It imports no other package of the project.
//
// # Invariants
//
//   - No attribute and no span names a user, a tenant or a client; a failed span has the kind of its failure, never an
//     error's text.
//   - Every counter begins at 0 with each value of its attribute.
//   - A hit in MSAL's memory costs one atomic addition ([Lookups]): no metric is recorded and no span begun.
//   - A log handler that panics loses its record, not the process.
//
// # Concurrency
//
// Everything is safe for concurrent use. There is no mutex here. The functions of [Levels] are called by the meter
// provider's reader, in its goroutines, and may take locks of their owners; nothing here is called back from under
// them.
package telemetry
