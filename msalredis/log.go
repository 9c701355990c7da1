package msalredis

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
)

// logger is slog with a mark of where a record comes from. Nothing given to it may be a token, a secret, or
// MSAL's name of a partition; hashes and error values of Redis and of this module are fine.
type logger struct{ *slog.Logger }

func (l logger) warn(msg string, args ...any) { l.say(slog.LevelWarn, msg, args) }
func (l logger) info(msg string, args ...any) { l.say(slog.LevelInfo, msg, args) }

// say loses the record, and not the process, where the application's handler panics.
func (l logger) say(level slog.Level, msg string, args []any) {
	defer func() { _ = recover() }()
	l.Log(context.Background(), level, "msalredis: "+msg, args...)
}

// quoted is text as a JSON string.
func quoted(text string) string {
	b, _ := json.Marshal(text) // a string always marshals
	return string(b)
}

// isNil tells also of a nil pointer in an interface.
func isNil(x any) bool {
	if x == nil {
		return true
	}
	v := reflect.ValueOf(x)
	return v.Kind() == reflect.Pointer && v.IsNil()
}
