package msalredis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
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
	o          Options
	keys       layout.Names
	serializer serializer.Serializer
	log        telemetry.Logger
	metrics    *telemetry.Recorder
	clock      *redistime.Clock
	redis      *redisop.Redis
	store      *tokenstore.Store
	remover    *removal.Remover
	managers   *managers
	tokens     *issued.Tokens
	lineages   *issued.Lineages
	onBehalfOf *issued.OnBehalfOf
	answers    *answers
	flights    *flights
	realms     *realms
	discovery  *discovery
	turns      turns
	http       func() *http.Client

	life    context.Context
	end     context.CancelFunc
	workers workers.Group
	calls   workers.Group // of base transports, which may not end when their contexts do
	closing sync.Once
	closed  atomic.Bool

	lists  atomic.Bool          // the list of accounts is used
	listed atomic.Pointer[[]id] // what was on it when Redis last answered
	gated  atomic.Bool          // the gate is in use

	unknownKeys sync.Once // the log knows of them

	hooks hooks
}

// hooks let tests order events.
type hooks struct {
	beforePost func(id)
	afterPost  func(id)
	loaded     func(m *manager, key string) // a partition is known, and is to be handed over
}

// New makes a Cache on a Redis client, which stays the caller's to close. nil opts are all defaults. It asks Redis
// nothing: a Redis that is away does not keep a service from starting. An error names the option to change.
//
// An application's own commands share the client's connection pool; operations of this package never take more
// than half of it. What is more than that queues, first come, first served, for as long as the caller's context allows, 30 s
// at most. So does an operation that gets no connection because the application uses all of them. Neither is taken for Redis
// being away; when Redis is found away, all that queues ends at once.
func New(client redis.UniversalClient, s serializer.Serializer, opts *Options) (*Cache, error) {
	if isNil(client) {
		return nil, errors.New("msalredis: New: the Redis client is nil")
	}
	if _, ring := client.(*redis.Ring); ring {
		return nil, errors.New("msalredis: New: a redis.Ring has no one server on which instances hear of each other; use a redis.ClusterClient")
	}
	if isNil(s) {
		return nil, errors.New("msalredis: New: the serializer is nil; use serializer.NewEncrypted, or serializer.Plaintext to store tokens unencrypted")
	}
	o, err := opts.filled()
	if err != nil {
		return nil, err
	}
	c := &Cache{o: o, keys: layout.Names{Prefix: o.Prefix}, serializer: guarded{s}, log: telemetry.NewLogger(o.Logger), clock: redistime.New(time.Now(), clocksDiffer)}
	if c.metrics, err = telemetry.New(o.MeterProvider, o.TracerProvider, outcomesAhead...); err != nil {
		return nil, fmt.Errorf("msalredis: Options.MeterProvider: %w", err)
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.redis = redisop.New(client, c.asking(c.life))
	c.managers = newManagers()
	c.store = tokenstore.New(tokenstore.Options{
		Names: c.keys, Serializer: c.serializer, Redis: c.redis, Clock: c.clock, Metrics: c.metrics, Log: c.log,
		UserTTL: o.UserTTL, OpTimeout: o.OpTimeout, LocalBytes: o.LocalBytes, Life: c.life, Workers: &c.workers,
		AskMend: func(ctx context.Context, pid id) { c.remover.AskMend(ctx, pid) }, OnStored: c.prolongAccount,
	})
	c.remover = removal.New(removal.Options{
		Names: c.keys, Redis: c.redis, Store: c.store, Clock: c.clock, Life: c.life, Workers: &c.workers,
		Forget: c.forget, Missed: func() { c.onBehalfOf.RemoveAll() },
	})
	c.tokens = issued.NewTokens(c.store, c.clock)
	c.lineages = issued.NewLineages()
	c.onBehalfOf = issued.NewOnBehalfOf(o.LocalBytes, c.store.Removed)
	c.answers = newAnswers(o.LocalBytes)
	c.flights = newFlights()
	c.realms = newRealms()
	c.discovery = newDiscovery(o.LocalBytes)
	c.http = sync.OnceValue(func() *http.Client { return &http.Client{Transport: c.Transport(nil)} })
	if err := c.metrics.Collect(c.levels()); err != nil {
		return nil, errors.Join(fmt.Errorf("msalredis: Options.MeterProvider: %w", err), c.Close())
	}
	return c, nil
}

// asking is how Redis is asked, until life ends.
func (c *Cache) asking(life context.Context) redisop.Options {
	return redisop.Options{
		Timeout: c.o.OpTimeout, LeaseTTL: c.o.LockTTL, Clock: c.clock, Metrics: c.metrics, Log: c.log,
		OnBack: func() { c.store.Nudge() }, Life: life, Workers: &c.workers,
	}
}

// levels are what metrics read of a Cache when they are collected.
func (c *Cache) levels() telemetry.Levels {
	return telemetry.Levels{
		RedisAway:   c.redis.Breaker.IsOpen,
		Partitions:  c.store.Size,
		Answers:     func() int64 { return int64(c.answers.known.WeightedSize()) },
		Discovery:   func() int64 { return int64(c.discovery.known.WeightedSize()) },
		Waiting:     c.store.Waiting,
		ClockOffset: c.clock.Offset,
	}
}

// Close flushes what waits for Redis, within OpTimeout, and ends every goroutine of the Cache but those of idle connections to
// Entra ID, which the HTTP client's CloseIdleConnections ends, and those in a base transport that ignores its context; tokens that Redis does not take in that time stay where MSAL has
// them, in memory. Calls under way return [ErrClosed] or their answer, later
// ones return [ErrClosed]. It does not close the Redis client. Closing twice is harmless.
func (c *Cache) Close() error {
	var err error
	c.closing.Do(func() {
		// One more try, whatever is known: Redis may be back and the probe between two looks.
		c.redis.Breaker.Close()
		flush, cancel := context.WithTimeout(context.Background(), c.o.OpTimeout)
		c.store.Push(flush)
		cancel()
		c.closed.Store(true)
		c.end()
		err = c.redis.Close()
		c.workers.Close()
		if !c.calls.CloseWithin(closeAtMost) {
			c.log.Warn("a base transport goes on although its context has ended; Close does not wait for it")
		}
		c.store.Close()
		c.discovery.known.StopAllGoroutines()
		err = errors.Join(err, c.metrics.Close())
	})
	if err != nil {
		return fmt.Errorf("msalredis: closing: %w", err)
	}
	return nil
}

// String names the Cache without saying anything of its contents.
func (c *Cache) String() string { return "msalredis.Cache(" + c.o.Prefix + ")" }

// LogValue implements [slog.LogValuer].
func (c *Cache) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Format implements [fmt.Formatter]: no verb looks inside.
func (c *Cache) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

func (c *Cache) usable(ctx context.Context) error {
	if c.closed.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

// background runs f with a context that ends with the Cache; false: the Cache is closed.
func (c *Cache) background(f func(context.Context)) bool {
	return c.workers.Run(func() { f(c.life) })
}

// record is the record of the partition that MSAL calls key.
func (c *Cache) record(key string) *tokenstore.Record {
	return c.store.Of(layout.PartitionID(key), !msaldoc.IsAppKey(key))
}

// elapsed is the time since the Cache's start.
func (c *Cache) elapsed() time.Duration { return time.Duration(c.clock.Elapsed()) }

// clocksDiffer is for how long a server of Redis whose clock was ahead of the others' counts: longer than a token request takes.
const clocksDiffer = 15 * time.Minute

// id is the hashed name of a partition (pid) or of a request identity (rid).
type id = layout.ID

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
