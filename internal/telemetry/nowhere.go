package telemetry

import (
	"context"
	"log/slog"
	"time"
)

// Nowhere is the Recorder of who wants neither metrics nor spans.
var Nowhere Recorder = nowhere{}

type nowhere struct{}

func (nowhere) Collect(Levels) error                                      { return nil }
func (nowhere) Close() error                                              { return nil }
func (nowhere) GateAnswered(context.Context, string, string, time.Time)   {}
func (nowhere) TokenRequested(context.Context, string, string, time.Time) {}
func (nowhere) RefreshedAhead(context.Context, string)                    {}
func (nowhere) LockWaited(context.Context, string, time.Time)             {}
func (nowhere) LockLost(context.Context)                                  {}
func (nowhere) RedisFailed(RedisFailure)                                  {}
func (nowhere) Unreadable(Unreadable)                                     {}
func (nowhere) Sealed(Record, int)                                        {}
func (nowhere) Unsealed(Record)                                           {}
func (nowhere) Wrote(Write)                                               {}

func (nowhere) Start(ctx context.Context, _ SpanName, _ ...slog.Attr) (context.Context, Span) {
	return ctx, noSpan{}
}

func (nowhere) Script(ctx context.Context, _ string) (context.Context, func(RedisFailure)) {
	return ctx, func(RedisFailure) {}
}

type noSpan struct{}

func (noSpan) Set(...slog.Attr)                          {}
func (noSpan) Failed(string)                             {}
func (noSpan) Link(Span)                                 {}
func (noSpan) Under(ctx context.Context) context.Context { return ctx }
func (noSpan) End()                                      {}
