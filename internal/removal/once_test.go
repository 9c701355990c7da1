package removal

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// newRemover is a Remover on a Redis client, its Store, and how often it has told of a removal.
func newRemover(t *testing.T, rdb redis.UniversalClient) (*Remover, *tokenstore.Store, *atomic.Int64) {
	t.Helper()
	log := telemetry.NewLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	metrics, err := telemetry.New(noop.NewMeterProvider(), tracenoop.NewTracerProvider())
	if err != nil {
		t.Fatal(err)
	}
	clock, group, names := redistime.New(time.Now(), 15*time.Minute), &workers.Group{}, layout.Names{Prefix: redistest.Prefix(t)}
	life, end := context.WithCancel(context.Background())
	asked := redisop.New(rdb, redisop.Options{
		Timeout: 5 * time.Second, LeaseTTL: time.Second, Clock: clock, Metrics: metrics, Log: log, OnBack: func() {}, Life: life, Workers: group,
	})
	st := tokenstore.New(tokenstore.Options{
		Names: names, Serializer: serializer.Plaintext(), Redis: asked, Clock: clock, Metrics: metrics, Log: log,
		UserTTL: 24 * time.Hour, OpTimeout: 5 * time.Second, LocalBytes: 1 << 20, Life: life, Workers: group,
		AskMend: func(context.Context, layout.ID) {}, OnStored: func(tokenstore.Batch) {},
	})
	t.Cleanup(func() {
		end()
		_ = asked.Close()
		group.Close()
		st.Close()
	})
	var told atomic.Int64
	return New(Options{
		Names: names, Redis: asked, Store: st, Life: life, Workers: group,
		Forget: func(*tokenstore.Removal) {}, Tell: func(context.Context, layout.ID, layout.Tombstone) { told.Add(1) },
	}), st, &told
}

// A removal is carried out once, also where its caller has left, or Redis is slow.
func TestRemovalIsCarriedOutOnce(t *testing.T) {
	rdb := redistest.Start(t).Client()
	t.Cleanup(func() { _ = rdb.Close() })
	slow := func(cmd redis.Cmder) {
		if strings.HasPrefix(cmd.Name(), "eval") {
			time.Sleep(400 * time.Millisecond) // the first pause of what waits for Redis is 150 ms at most
		}
	}
	rdb.AddHook(before(slow))
	rs, st, told := newRemover(t, struct{ *redis.Client }{rdb}) // not go-redis's own type, whose copies run no hooks
	pid := layout.PartitionID("uid.utid")
	for _, patience := range []time.Duration{time.Minute, time.Millisecond} {
		told.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := rs.Remove(ctx, st.Of(pid, true), nil)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, removals, _ := st.Waiting(); removals == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it waits still")
			}
		}
		time.Sleep(time.Second)
		if n := told.Load(); n != 1 {
			t.Errorf("with a patience of %v it was carried out %d times", patience, n)
		}
	}
}

// before is called before each command.
type before func(redis.Cmder)

func (f before) DialHook(next redis.DialHook) redis.DialHook { return next }
func (f before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f(cmd)
		return next(ctx, cmd)
	}
}
