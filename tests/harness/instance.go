package harness

import (
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Instance is one Cache and the HTTP client of its gate, as one process has them, with its metrics and spans.
type Instance struct {
	World  *World
	Redis  redis.UniversalClient
	Seen   *Observed
	Tokens *msalredis.Cache
	HTTP   *http.Client
}

func (i *Instance) Close() {
	if err := Canary.collect(i.Seen.reader); err != nil { // before Close: hits are counted while the Cache lives
		i.World.T.Errorf("metrics: %v", err)
	}
	if err := i.Tokens.Close(); err != nil {
		i.World.T.Errorf("Close: %v", err)
	}
}

// What tests count must not depend on a machine that starves a process: for 250 ms, which would count as a Redis that
// is away, or for two seconds, which would cost it its leases.
const (
	opTimeout = 10 * time.Second
	lockTTL   = 5 * time.Second
)

// Options are what the tests use unless they say otherwise: the defaults, a log that the canary reads, and time for a
// starved process.
func Options(prefix string) *msalredis.Options {
	return &msalredis.Options{Prefix: prefix, LockTTL: lockTTL, OpTimeout: opTimeout, Logger: Canary.Logger()}
}

func (w *World) Instance(change ...func(*msalredis.Options)) *Instance {
	w.T.Helper()
	o := Options(w.Prefix)
	for _, f := range change {
		f(o)
	}
	return w.InstanceOn(w.Client(), w.Sealer(w.Keys), o)
}

func (w *World) InstanceOn(rdb redis.UniversalClient, s serializer.Serializer, o *msalredis.Options) *Instance {
	w.T.Helper()
	seen := newObserved()
	watched := *o
	if watched.Telemetry == nil {
		watched.Telemetry = msalredisotel.Telemetry{MeterProvider: seen.meters, TracerProvider: seen.Traces}
	}
	tokens, err := msalredis.New(rdb, s, &watched)
	if err != nil {
		w.T.Fatal(err)
	}
	base := w.Entra.Transport()
	i := &Instance{World: w, Redis: rdb, Seen: seen, Tokens: tokens, HTTP: &http.Client{Transport: tokens.Transport(base)}}
	w.T.Cleanup(func() {
		i.Close()
		base.CloseIdleConnections()
	})
	return i
}

// ShortOpTimeout is the OpTimeout that users have: these tests are about a Redis that does not answer.
func ShortOpTimeout(o *msalredis.Options) { o.OpTimeout = 250 * time.Millisecond }
