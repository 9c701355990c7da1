package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// redisServer is the Redis of the run, embedded or given, behind the proxy that takes it away.
type redisServer struct {
	name     string // for the report; without password
	url      string
	embedded *miniredis.Miniredis // nil: given by URL
	direct   *redis.Client        // past the proxy
	proxy    *proxy
}

func openRedis(ctx context.Context, cfg *config) (s *redisServer, err error) {
	s = &redisServer{url: cfg.Redis}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.url == "" {
		s.embedded = miniredis.NewMiniRedis()
		if err := s.embedded.StartAddr("127.0.0.1:0"); err != nil {
			return s, err
		}
		s.embedded.ClockTTL(true) // a killed leader's lease ends by its time to live; without this, never
		s.url, s.name = "redis://"+s.embedded.Addr(), "embedded (miniredis)"
	}
	opts, err := redis.ParseURL(s.url)
	if err != nil {
		return s, errors.New("not a Redis URL")
	}
	s.direct = redis.NewClient(opts)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.direct.Ping(ctx).Err(); err != nil {
		if s.embedded != nil {
			return s, fmt.Errorf("the Redis inside the demonstration: %w", err)
		}
		return s, fmt.Errorf("%s: no Redis at %s: %s (%w)", cfg.RedisBy, opts.Addr, cfg.withoutRedis(), err)
	}
	if s.embedded == nil {
		s.name = strings.TrimSpace("Redis " + version(ctx, s.direct) + " at " + opts.Addr)
	}
	s.proxy, err = newProxy(opts.Network, opts.Addr)
	return s, err
}

func version(ctx context.Context, rdb *redis.Client) string {
	info, _ := rdb.Info(ctx, "server").Result() // a managed Redis may refuse
	_, rest, _ := strings.Cut(info, "redis_version:")
	v, _, _ := strings.Cut(rest, "\r\n")
	return v
}

// clean removes the run's keys from a Redis that lives on. Where SCAN is refused they stay until they expire: all of
// them do.
func (s *redisServer) clean(prefix string) {
	if s.embedded != nil {
		return
	}
	// After Ctrl-C, too.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	keys := s.direct.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		_ = s.direct.Del(ctx, keys.Val()).Err()
	}
}

func (s *redisServer) close() {
	if s.proxy != nil {
		s.proxy.close()
	}
	if s.direct != nil {
		_ = s.direct.Close()
	}
	if s.embedded != nil {
		s.embedded.Close()
	}
}
