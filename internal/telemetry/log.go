package telemetry

import (
	"context"
	"log/slog"
)

// Logger marks where a record comes from. Nothing given to it may be a token, a secret, or MSAL's name of a partition;
// hashes and error values of Redis and of this module are fine.
type Logger struct{ to *slog.Logger }

// NewLogger is a Logger that hands its records to another.
func NewLogger(to *slog.Logger) Logger { return Logger{to} }

func (l Logger) Error(msg string, args ...any) { l.say(slog.LevelError, msg, args) }
func (l Logger) Warn(msg string, args ...any)  { l.say(slog.LevelWarn, msg, args) }
func (l Logger) Info(msg string, args ...any)  { l.say(slog.LevelInfo, msg, args) }

// say loses the record, and not the process, where the application's handler panics.
func (l Logger) say(level slog.Level, msg string, args []any) {
	defer func() { _ = recover() }()
	l.to.Log(context.Background(), level, "msalredis: "+msg, args...)
}
