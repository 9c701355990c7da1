package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
)

type panicky struct{}

func (panicky) Enabled(context.Context, slog.Level) bool  { return true }
func (panicky) Handle(context.Context, slog.Record) error { panic("the handler's own trouble") }
func (p panicky) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panicky) WithGroup(string) slog.Handler           { return p }

// Every line says whose it is, at its level; a handler that panics costs the line.
func TestLogger(t *testing.T) {
	var b bytes.Buffer
	l := NewLogger(slog.New(slog.NewTextHandler(&b, nil)))
	l.Error("one", "error", "x")
	l.Warn("two")
	l.Info("three")
	for _, want := range []string{`level=ERROR msg="msalredis: one" error=x`, `level=WARN msg="msalredis: two"`,
		`level=INFO msg="msalredis: three"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in %q", want, b.String())
		}
	}
	l = NewLogger(slog.New(panicky{}))
	l.Error("x")
	l.Warn("x")
	l.Info("x")
}
