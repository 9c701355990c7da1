package msalredis

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/gate"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// ErrClosed is what a [Cache] answers after Close.
var ErrClosed = redisop.ErrClosed

// Cache shares MSAL's tokens through Redis and lets one instance refresh each. Make one per process, give it to
// every MSAL client (WithCache, and [Cache.HTTPClient] by WithHTTPClient), and Close it at the end. It is safe for
// concurrent use.
type Cache struct {
	prefix string
	parts  *parts
	http   func() *http.Client
	close  func() error
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
	metrics := telemetry.Nowhere
	if o.Telemetry != nil {
		if metrics, err = o.Telemetry.Recorder(gate.OutcomesAhead); err != nil {
			return nil, fmt.Errorf("msalredis: Options.Telemetry: %w", err)
		}
	}
	p := newParts(client, guarded{s}, o, metrics)
	c := &Cache{prefix: o.Prefix, parts: p, close: sync.OnceValue(p.close)}
	c.http = sync.OnceValue(func() *http.Client { return &http.Client{Transport: c.Transport(nil)} })
	if err := metrics.Collect(p.levels()); err != nil {
		return nil, errors.Join(fmt.Errorf("msalredis: Options.Telemetry: %w", err), c.Close())
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
func (c *Cache) String() string { return nameOf(c.prefix) }

func nameOf(prefix string) string { return "msalredis.Cache(" + prefix + ")" }

// LogValue implements [slog.LogValuer].
func (c *Cache) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Format implements [fmt.Formatter]: no verb looks inside.
func (c *Cache) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }
