package observability_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
)

// sums are the series of counters and up-down counters, by name and attributes.
func sums(t *testing.T, reader sdkmetric.Reader) map[string]int64 {
	t.Helper()
	var m metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, s := range m.ScopeMetrics {
		for _, x := range s.Metrics {
			if data, ok := x.Data.(metricdata.Sum[int64]); ok {
				for _, p := range data.DataPoints {
					all[strings.TrimSpace(x.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder()))] = p.Value
				}
			}
		}
	}
	return all
}

// Every counter begins at 0 with each value of its attribute; levels and look-ups are read when metrics are collected,
// and no more after Close.
func TestCountersBeginAtZeroAndLevelsAreRead(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	r, err := msalredisotel.Telemetry{MeterProvider: meters}.Recorder([]string{"refreshed", "elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"msalredis.lock.losses": 0}
	for name, values := range map[string]string{
		"msalredis.refreshes_ahead msalredis.outcome": "refreshed elsewhere",
		"msalredis.redis.errors error.type":           "away refused",
		"msalredis.records.unreadable error.type":     "unknown_key newer_version moved corrupt malformed",
		"msalredis.records.unsealed msalredis.record": "entry answer",
		"msalredis.writes msalredis.outcome":          "stored kept dropped refused_after_signout restored unknown_key",
	} {
		for _, v := range strings.Fields(values) {
			want[name+"="+v] = 0
		}
	}
	compare := func(when string) {
		t.Helper()
		got := sums(t, reader)
		for name, n := range want {
			if v, ok := got[name]; !ok || v != n {
				t.Errorf("%s: %s is %d (there: %v), want %d", when, name, v, ok, n)
			}
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				t.Errorf("%s: %s was not expected", when, name)
			}
		}
	}
	compare("at first")

	level := func(n int64) func() int64 { return func() int64 { return n } }
	var lookups telemetry.Lookups
	if err := r.Collect(telemetry.Levels{
		Lookups:    &lookups,
		RedisAway:  func() bool { return true },
		Partitions: level(1), Answers: level(2), Discovery: level(3),
		Waiting:     func() (int64, int64, int64) { return 4, 5, 6 },
		ClockOffset: func() (time.Duration, bool) { return 0, false },
	}); err != nil {
		t.Fatal(err)
	}
	lookups.Memory.Add(1)
	lookups.Process.Add(2)
	lookups.Redis.Add(3)
	lookups.Nowhere.Add(4)
	lookups.Unknown.Add(5)
	r.Wrote(telemetry.Kept)
	r.RedisFailed(telemetry.RedisAway)
	r.Unreadable(telemetry.Moved)
	r.Unsealed(telemetry.Answer)
	before := map[string]int64{}
	for name, n := range map[string]int64{
		"msalredis.writes msalredis.outcome=kept": 1, "msalredis.redis.errors error.type=away": 1,
		"msalredis.records.unreadable error.type=moved": 1, "msalredis.records.unsealed msalredis.record=answer": 1,
	} {
		want[name] = n
	}
	maps.Copy(before, want)
	for name, n := range map[string]int64{
		"msalredis.lookups msalredis.found=memory": 1, "msalredis.lookups msalredis.found=process": 2,
		"msalredis.lookups msalredis.found=redis": 3, "msalredis.lookups msalredis.found=nowhere": 4,
		"msalredis.lookups msalredis.found=unknown": 5, "msalredis.redis.open_breakers": 1,
		"msalredis.memory.size msalredis.holds=partitions": 1, "msalredis.memory.size msalredis.holds=answers": 2,
		"msalredis.memory.size msalredis.holds=discovery": 3, "msalredis.pending.writes": 4,
		"msalredis.pending.signouts": 5, "msalredis.pending.size": 6,
	} {
		want[name] = n
	}
	compare("with levels")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	want = before
	compare("after Close")
}
