package gate

import (
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/stage"
)

// newGate is a Gate whose Redis does not answer.
func newGate(tb testing.TB) *Gate {
	tb.Helper()
	return onStage(tb, stage.New(tb, stage.Answering(tb, nil), stage.Options{}))
}

// onStage is a Gate on a stage.
func onStage(tb testing.TB, s *stage.Stage) *Gate {
	tb.Helper()
	g := New(Options{
		Name: "test", Names: s.Names, Serializer: s.Serializer, Redis: s.Redis, Store: s.Store, Clock: s.Clock,
		Metrics: s.Metrics, Log: s.Log, Tokens: s.Tokens, Lineages: s.Lineages, OnBehalfOf: s.OnBehalfOf, Listen: func() {},
		RefreshAt: 0.5, LockTTL: 5 * time.Second, LocalBytes: 1 << 20, LocalTTL: time.Hour,
		Life: s.Life, Workers: s.Workers,
	})
	tb.Cleanup(func() {
		s.End()
		s.Workers.Close()
		g.Close()
	})
	return g
}
