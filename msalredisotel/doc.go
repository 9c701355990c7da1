// Package msalredisotel gives the metrics and spans of a msalredis.Cache to OpenTelemetry. It is a module of its own:
// who does without has no OpenTelemetry in the build.
//
//	go get github.com/msal-redis/msal-redis-go/msalredisotel
//
//	tokens, err := msalredis.New(rdb, sealer, &msalredis.Options{Telemetry: msalredisotel.Telemetry{}})
//
// Names, units and attributes follow OpenTelemetry's semantic conventions; docs/observability.md lists them, with a
// dashboard and alerts. None names a user, a tenant or a client, and none has a token or an error's text.
//
// Take the version of the library's module: both are released together.
package msalredisotel
