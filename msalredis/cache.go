package msalredis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/accessor"
	"github.com/msal-redis/msal-redis-go/internal/gate"
	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/removal"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// ErrClosed is what a [Cache] answers after Close.
var ErrClosed = redisop.ErrClosed

// Cache shares MSAL's tokens through Redis and lets one instance refresh each. Make one per process, give it to
// every MSAL client (WithCache, and [Cache.HTTPClient] by WithHTTPClient), and Close it at the end. It is safe for
// concurrent use.
type Cache struct {
	prefix   string
	accessor *accessor.Accessor
	gate     *gate.Gate
	remover  *removal.Remover
	http     func() *http.Client
	life     context.Context // ends with the Cache
	close    func() error
}

// New makes a Cache on a Redis client, which stays the caller's to close. nil opts are all defaults. It asks Redis
// nothing: a Redis that is away does not keep a service from starting. An error names the option to change.
//
// An application's own commands share the client's connection pool; operations of this package never take more than
// half of it. Further operations queue, first come, first served, for as long as the caller's context allows, 30 s at
// most. So does an operation that gets no connection because the application uses all of them. A long queue is not
// taken for Redis being away; when Redis is found away, everything that queues ends at once.
func New(client redis.UniversalClient, s serializer.Serializer, opts *Options) (*Cache, error) {
	if isNil(client) {
		return nil, errors.New("msalredis: New: the Redis client is nil")
	}
	if _, ring := client.(*redis.Ring); ring {
		return nil, errors.New("msalredis: New: a redis.Ring has no one server on which instances hear of each other; use " +
			"a redis.ClusterClient")
	}
	if isNil(s) {
		return nil, errors.New("msalredis: New: the serializer is nil; use serializer.NewEncrypted, or " +
			"serializer.Plaintext to store tokens unencrypted")
	}
	o, err := opts.filled()
	if err != nil {
		return nil, err
	}
	c := &Cache{prefix: o.Prefix}
	names, sealer, clock := layout.Names{Prefix: o.Prefix}, guarded{s}, redistime.New(time.Now(), clocksDiffer)
	log := telemetry.NewLogger(o.Logger)
	metrics, err := telemetry.New(o.MeterProvider, o.TracerProvider, gate.OutcomesAhead...)
	if err != nil {
		return nil, fmt.Errorf("msalredis: Options.MeterProvider: %w", err)
	}
	life, end := context.WithCancel(context.Background())
	group := &workers.Group{}

	var store *tokenstore.Store
	asked := redisop.New(client, redisop.Options{
		Timeout: o.OpTimeout, LeaseTTL: o.LockTTL, Clock: clock, Metrics: metrics, Log: log,
		OnBack: func() { store.Nudge() }, Life: life, Workers: group,
	})
	store = tokenstore.New(tokenstore.Options{
		Names: names, Serializer: sealer, Redis: asked, Clock: clock, Metrics: metrics, Log: log,
		LocalTTL: o.LocalTTL, UserTTL: o.UserTTL, OpTimeout: o.OpTimeout, LocalBytes: o.LocalBytes, Life: life,
		Workers:  group,
		AskMend:  func(ctx context.Context, pid layout.ID) { c.remover.AskMend(ctx, pid) },
		OnStored: func(b tokenstore.Batch) { c.accessor.Prolong(b) },
	})
	onBehalfOf := issued.NewOnBehalfOf(o.LocalBytes, store.Removed)
	c.remover = removal.New(removal.Options{
		Names: names, Redis: asked, Store: store, Clock: clock, Life: life, Workers: group,
		Missed: onBehalfOf.RemoveAll,
		Forget: func(pid layout.ID, removed layout.Tombstone, signedOutHere bool) {
			c.gate.Forget(pid)
			onBehalfOf.Remove(pid, removed, signedOutHere)
		},
	})
	tokens, lineages := issued.NewTokens(store, clock), issued.NewLineages()
	c.gate = gate.New(gate.Options{
		Name: c.String(), Names: names, Serializer: sealer, Redis: asked, Store: store, Clock: clock, Metrics: metrics,
		Log: log, Tokens: tokens, Lineages: lineages, OnBehalfOf: onBehalfOf, Listen: c.remover.Listen,
		RefreshAt: o.RefreshAt, LockTTL: o.LockTTL, FailClosed: o.FailClosed, LocalBytes: o.LocalBytes,
		LocalTTL: o.LocalTTL, Life: life, Workers: group,
	})
	c.accessor = accessor.New(accessor.Options{
		Names: names, Redis: asked, Store: store, Clock: clock, Metrics: metrics, Log: log,
		Tokens: tokens, Lineages: lineages, OnBehalfOf: onBehalfOf, Listen: c.remover.Listen,
		Gated: c.gate.Used, SignOut: c.remover.SignOut, CallsAtMost: gate.AtMost,
		LocalTTL: o.LocalTTL, UserTTL: o.UserTTL, FailClosed: o.FailClosed, Life: life, Workers: group,
	})
	c.http = sync.OnceValue(func() *http.Client { return &http.Client{Transport: c.Transport(nil)} })
	c.life = life
	c.close = sync.OnceValue(func() error {
		// One more try, whatever is known: Redis may be back and the probe between two looks.
		asked.Breaker.Close()
		flush, cancel := context.WithTimeout(context.Background(), o.OpTimeout)
		var beside sync.WaitGroup
		beside.Go(func() { store.Push(flush) })
		c.gate.Settle(flush)
		beside.Wait()
		store.Push(flush) // what could not be kept meanwhile
		cancel()
		end()
		err := asked.Close()
		group.Close()
		c.gate.Close()
		store.Close()
		return errors.Join(err, metrics.Close())
	})
	if err := metrics.Collect(telemetry.Levels{
		RedisAway:   asked.Breaker.IsOpen,
		Partitions:  store.Size,
		Answers:     c.gate.AnswersSize,
		Discovery:   c.gate.DocumentsSize,
		Waiting:     store.Waiting,
		ClockOffset: clock.Offset,
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("msalredis: Options.MeterProvider: %w", err), c.Close())
	}
	return c, nil
}

// Close writes what waits for Redis, within OpTimeout, and ends the goroutines of the Cache. Tokens that Redis does not
// take in that time stay in MSAL's memory only. Calls under way return [ErrClosed] or their answer, later ones return
// [ErrClosed]. It does not close the Redis client. Closing twice is harmless.
//
// Two kinds of goroutines it cannot end: those of idle connections to Entra ID, which the HTTP client's
// CloseIdleConnections ends, and those in a base transport that ignores its context.
func (c *Cache) Close() error {
	if err := c.close(); err != nil {
		return fmt.Errorf("msalredis: closing: %w", err)
	}
	return nil
}

// String names the Cache without saying anything of its contents.
func (c *Cache) String() string { return "msalredis.Cache(" + c.prefix + ")" }

// LogValue implements [slog.LogValuer].
func (c *Cache) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Format implements [fmt.Formatter]: no verb looks inside.
func (c *Cache) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

func (c *Cache) usable(ctx context.Context) error {
	if c.life.Err() != nil {
		return ErrClosed
	}
	return ctx.Err()
}

// clocksDiffer is for how long the clock of the Redis server that was ahead of the others counts: longer than a token
// request takes.
const clocksDiffer = 15 * time.Minute
