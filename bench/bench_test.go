// Package bench compares this library with what a service would otherwise do, on a real Redis, in one run:
//
//	go test -run '^$' -bench . ./bench
//
// Every benchmark is a workload, every sub-benchmark a contender; the table at the end has the ratios.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const (
	clientID    = "11111111-aaaa-4bbb-8ccc-000000000001"
	secret      = "the-client's-secret"
	redirectURI = "http://localhost:5000/signin"
	graph       = "https://graph.microsoft.com/.default"
	userScope   = "https://graph.microsoft.com/User.Read"
)

var user = entratest.User{ObjectID: "00000001-0000-4000-8000-00000000000a", TenantID: entratest.DefaultTenant,
	Username: "ada@contoso.com", Name: "Ada"}

// world is a Redis and an Entra ID.
type world struct {
	b     *testing.B
	redis *redistest.Server
	rdb   *redis.Client
	entra *entratest.Server
	keys  string

	spawned []*worker
}

func newWorld(b *testing.B) *world {
	w := &world{b: b, redis: redistest.Start(b)}
	w.rdb = w.redis.Client()
	var err error
	if w.entra, err = entratest.NewServer(nil); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.entra.Close() })
	w.entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	w.entra.AddUser(user)
	key, err := serializer.GenerateKey("k")
	if err != nil {
		b.Fatal(err)
	}
	w.keys = key.Export()
	results.redis(w.rdb)
	return w
}

// process is what one process has of a contender.
type process struct {
	accessor cache.ExportReplace // nil: MSAL's memory alone
	http     *http.Client
	rdb      *redis.Client
	// around is put around each acquisition; nil: nothing.
	around func(ctx context.Context, call func() error) error
	close  func()
}

// contender is one way to keep tokens.
type contender struct {
	name  string
	start func(at place, base http.RoundTripper) (process, error)
}

var (
	memory = contender{"MSAL in memory", func(_ place, base http.RoundTripper) (process, error) {
		return process{http: &http.Client{Transport: base}}, nil
	}}
	nothing = contender{"accessor that does nothing", func(_ place, base http.RoundTripper) (process, error) {
		return process{accessor: noop{}, http: &http.Client{Transport: base}}, nil
	}}
	naively = contender{"naive GET and SET", func(at place, base http.RoundTripper) (process, error) {
		rdb := redis.NewClient(&redis.Options{Addr: at.Redis})
		return process{rdb: rdb, accessor: naive{rdb}, http: &http.Client{Transport: base}, close: func() {
			rdb.Close()
		}}, nil
	}}
	locked = contender{"naive with redislock", func(at place, base http.RoundTripper) (process, error) {
		rdb := redis.NewClient(&redis.Options{Addr: at.Redis})
		locker := redislock.New(rdb)
		return process{rdb: rdb, accessor: naive{rdb}, http: &http.Client{Transport: base}, close: func() { rdb.Close() },
			around: func(ctx context.Context, call func() error) error {
				l, err := locker.Obtain(ctx, "token-lock", 10*time.Second,
					&redislock.Options{RetryStrategy: redislock.LinearBackoff(100 * time.Millisecond)})
				if err != nil {
					return err
				}
				defer func() { _ = l.Release(ctx) }()
				return call()
			}}, nil
	}}
	library = configured("this library", encrypted, nil)
)

func encrypted(at place) (serializer.Serializer, error) {
	keys, err := serializer.ParseKeys(at.Keys)
	if err != nil {
		return nil, err
	}
	return serializer.NewEncrypted(keys...)
}

// configured is this library with a Serializer and options.
func configured(
	name string, sealer func(place) (serializer.Serializer, error), opts *msalredis.Options,
) contender {
	return contender{name, func(at place, base http.RoundTripper) (process, error) {
		s, err := sealer(at)
		if err != nil {
			return process{}, err
		}
		rdb := redis.NewClient(&redis.Options{Addr: at.Redis})
		tokens, err := msalredis.New(rdb, s, opts)
		if err != nil {
			return process{}, err
		}
		return process{rdb: rdb, accessor: tokens, http: &http.Client{Transport: tokens.Transport(base)}, close: func() {
			tokens.Close()
			rdb.Close()
		}}, nil
	}}
}

// start is a process of a contender within this one.
func (w *world) start(b *testing.B, c contender, base http.RoundTripper) process {
	p, err := c.start(place{Redis: w.redis.Addr(), Keys: w.keys}, base)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// with is start, ended with the benchmark.
func (w *world) with(b *testing.B, c contender, base http.RoundTripper) process {
	p := w.start(b, c, base)
	if p.close != nil {
		b.Cleanup(p.close)
	}
	return p
}

func (w *world) app(b *testing.B, p process, tenant string) confidential.Client {
	app, err := p.newApp(w.entra.Authority(tenant))
	if err != nil {
		b.Fatal(err)
	}
	return app
}

// signIn signs the user in.
func (w *world) signIn(b *testing.B, app confidential.Client) {
	ctx := context.Background()
	link, err := app.AuthCodeURL(ctx, clientID, redirectURI, []string{userScope})
	if err != nil {
		b.Fatal(err)
	}
	code, err := w.entra.AuthorizeCode(link, user.Username)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := app.AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope}); err != nil {
		b.Fatal(err)
	}
}

// noop is the floor of every accessor: what MSAL does to call one.
type noop struct{}

func (noop) Replace(context.Context, cache.Unmarshaler, cache.ReplaceHints) error { return nil }
func (noop) Export(context.Context, cache.Marshaler, cache.ExportHints) error     { return nil }

// naive is the accessor that one writes first: GET and SET of the whole document.
type naive struct{ rdb *redis.Client }

func (n naive) Replace(ctx context.Context, u cache.Unmarshaler, h cache.ReplaceHints) error {
	data, err := n.rdb.Get(ctx, h.PartitionKey).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	return u.Unmarshal(data)
}

func (n naive) Export(ctx context.Context, m cache.Marshaler, h cache.ExportHints) error {
	data, err := m.Marshal()
	if err != nil {
		return err
	}
	return n.rdb.Set(ctx, h.PartitionKey, data, 0).Err()
}

// timed measures what an accessor itself takes, so that the rest of an acquisition does not hide it.
type timed struct {
	cache.ExportReplace
	replace, export time.Duration // in the last acquisition; written by one goroutine
}

func (t *timed) Replace(ctx context.Context, u cache.Unmarshaler, h cache.ReplaceHints) error {
	defer func(begun time.Time) { t.replace += time.Since(begun) }(time.Now())
	return t.ExportReplace.Replace(ctx, u, h)
}

func (t *timed) Export(ctx context.Context, m cache.Marshaler, h cache.ExportHints) error {
	defer func(begun time.Time) { t.export += time.Since(begun) }(time.Now())
	return t.ExportReplace.Export(ctx, m, h)
}

// instant answers token requests in memory, each with tokens of its own, after the first one, whose answer it
// learns: so that neither TLS nor an emulator's signatures are measured.
type instant struct {
	base   http.RoundTripper
	answer atomic.Pointer[[]byte]
	n      atomic.Int64

	once sync.Once
	at   []int
}

// differs is where the tokens of the answer differ from the next one's.
func (t *instant) differs() []int {
	t.once.Do(func() {
		for _, found := range tokenMember.FindAllIndex(*t.answer.Load(), -1) {
			t.at = append(t.at, found[1])
		}
	})
	return t.at
}

var tokenMember = regexp.MustCompile(`"(?:access_token|refresh_token)":"[^"]{16}`)

func (t *instant) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost {
		return t.base.RoundTrip(req)
	}
	known := t.answer.Load()
	if known == nil {
		resp, err := t.base.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the emulator says %d: %w", resp.StatusCode, err)
		}
		t.answer.Store(&body)
		known = &body
	} else {
		_, _ = io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	body, n := bytes.Clone(*known), fmt.Appendf(nil, "%016d", t.n.Add(1))
	for _, at := range t.differs() {
		copy(body[at:], n)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req}, nil
}

func tenantName(i int) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", i) }

func scopes(s ...string) []string { return s }

// commands is how many commands Redis has processed, and how many bytes went over the wire.
func (w *world) commands() (commands, bytes int64) {
	stats := map[string]int64{}
	for line := range strings.Lines(w.rdb.Info(context.Background(), "stats").Val()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		stats[name], _ = strconv.ParseInt(value, 10, 64)
	}
	return stats["total_commands_processed"], stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
}

// memory is what each key takes.
func (w *world) memory(b *testing.B) map[string]float64 {
	ctx := context.Background()
	keys, err := w.rdb.Keys(ctx, "*").Result()
	if err != nil {
		b.Fatal(err)
	}
	sizes := map[string]float64{} // SAMPLES 0: of all fields
	for _, k := range keys {
		n, err := w.rdb.MemoryUsage(ctx, k, 0).Result()
		if err != nil {
			b.Fatal(err)
		}
		sizes[k] = float64(n)
	}
	return sizes
}

func isAnswer(key string) bool {
	return !strings.HasSuffix(key, ":tokens") && strings.Contains(key, ":v1:")
}
