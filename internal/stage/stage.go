// Package stage is what the upper parts of the library stand on, for their tests: how Redis is asked, a store, and what
// was issued.
package stage

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Stage is one process's worth of them.
type Stage struct {
	Names      layout.Names
	Serializer serializer.Serializer
	Redis      *redisop.Redis
	Clock      *redistime.Clock
	Metrics    telemetry.Recorder
	Log        telemetry.Logger
	Store      *tokenstore.Store
	Tokens     *issued.Tokens
	Lineages   *issued.Lineages
	OnBehalfOf *issued.OnBehalfOf

	Life    context.Context
	End     context.CancelFunc
	Workers *workers.Group
}

// Options are what a Stage is made with. Zero fields are the usual.
type Options struct {
	Prefix     string // "msal"
	Serializer serializer.Serializer
	Timeout    time.Duration // of an operation of Redis; 5 s
	LocalBytes int64         // 1 MiB
	NoBreaker  bool          // each operation is sent, whatever became of the one before
}

// hooked hides that a client is a *redis.Client, of which a copy without its hooks would be made.
type hooked struct{ redis.UniversalClient }

// New makes a Stage on a Redis client, and takes it down at the test's end.
func New(tb testing.TB, client redis.UniversalClient, o Options) *Stage {
	tb.Helper()
	if o.Prefix == "" {
		o.Prefix = "msal"
	}
	if o.Serializer == nil {
		o.Serializer = sealer(tb)
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.LocalBytes == 0 {
		o.LocalBytes = 1 << 20
	}
	s := &Stage{
		Names: layout.Names{Prefix: o.Prefix}, Serializer: o.Serializer, Clock: redistime.New(time.Now(), 15*time.Minute),
		Metrics: telemetry.Nowhere, Log: telemetry.NewLogger(slog.New(slog.DiscardHandler)), Workers: &workers.Group{},
	}
	s.Life, s.End = context.WithCancel(context.Background())
	asking := s.Life
	if o.NoBreaker {
		dead, end := context.WithCancel(s.Life)
		end()
		asking = dead
	}
	s.Redis = redisop.New(hooked{client}, redisop.Options{
		Timeout: o.Timeout, LeaseTTL: 5 * time.Second, Clock: s.Clock, Metrics: s.Metrics, Log: s.Log,
		OnBack: func() { s.Store.Nudge() }, Life: asking, Workers: s.Workers,
	})
	s.Store = tokenstore.New(tokenstore.Options{
		Names: s.Names, Serializer: o.Serializer, Redis: s.Redis, Clock: s.Clock, Metrics: s.Metrics, Log: s.Log,
		LocalTTL: 10 * time.Second, UserTTL: time.Hour, OpTimeout: o.Timeout, LocalBytes: o.LocalBytes,
		Life: s.Life, Workers: s.Workers,
		AskMend: func(context.Context, layout.ID) {}, OnStored: func(tokenstore.Batch) {},
	})
	s.Tokens, s.Lineages = issued.NewTokens(s.Store, s.Clock), issued.NewLineages()
	s.OnBehalfOf = issued.NewOnBehalfOf(o.LocalBytes, s.Store.Removed)
	tb.Cleanup(func() {
		s.End()
		_ = s.Redis.Close()
		s.Workers.Close()
		s.Store.Close()
	})
	return s
}

func sealer(tb testing.TB) serializer.Serializer {
	tb.Helper()
	key, err := serializer.ParseKeys("k1:" + base64.StdEncoding.EncodeToString(append(bytes.Repeat([]byte{7}, 31), 8)))
	if err != nil {
		tb.Fatal(err)
	}
	s, err := serializer.NewEncrypted(key...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Answering is the client of a Redis that answers each command with what says; nil: of one that does not answer.
func Answering(tb testing.TB, says func(command string) []byte) *redis.Client {
	tb.Helper()
	rdb := redis.NewClient(&redis.Options{
		MaxRetries: -1, DisableIdentity: true, PoolSize: 4, DialerRetries: 1,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if says == nil {
				return nil, errors.New("nobody answers")
			}
			ours, theirs := net.Pipe()
			go serveOnce(theirs, says)
			return ours, nil
		},
	})
	tb.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// serveOnce introduces itself as a Redis, gives one answer and hangs up.
func serveOnce(conn net.Conn, says func(string) []byte) {
	defer conn.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		command := strings.ToLower(string(buffer[:n]))
		if strings.Contains(command, "hello") || strings.Contains(command, "maint_notifications") {
			for range strings.Count(command, "*") { // pipelined
				if _, err := conn.Write([]byte("-ERR unknown command\r\n")); err != nil {
					return
				}
			}
			continue
		}
		_, _ = conn.Write(says(command))
		return
	}
}
