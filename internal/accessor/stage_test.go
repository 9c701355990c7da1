package accessor

import (
	"context"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/stage"
)

// newAccessor is an Accessor whose Redis does not answer.
func newAccessor(tb testing.TB) *Accessor {
	tb.Helper()
	return onStage(stage.New(tb, stage.Answering(tb, nil), stage.Options{}))
}

// onStage is an Accessor on a stage, beside no gate.
func onStage(s *stage.Stage) *Accessor {
	return New(Options{
		Names: s.Names, Redis: s.Redis, Store: s.Store, Clock: s.Clock, Metrics: s.Metrics, Log: s.Log,
		Tokens: s.Tokens, Lineages: s.Lineages, OnBehalfOf: s.OnBehalfOf, Listen: func() {},
		Gated: func() bool { return false }, SignOut: func(context.Context, []string) error { return nil },
		LocalTTL: 10 * time.Second, UserTTL: time.Hour, CallsAtMost: time.Minute, Life: s.Life, Workers: s.Workers,
	})
}
