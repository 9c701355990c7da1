package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// primaries calls f with each primary, one at a time.
func (s *session) primaries(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	var mu sync.Mutex
	one := func(ctx context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		return f(ctx, node)
	}
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, one)
	case *redis.Client:
		return one(ctx, client)
	}
	return fmt.Errorf("a %T is not supported", s.client)
}

// place is a key of the cache, taken apart.
type place struct {
	key  string
	id   layout.ID
	what string
}

// places are those that an id may have.
func (s *session) places(i layout.ID) []place {
	return []place{{s.names.Tokens(i), i, "tokens"}, {s.names.Response(i), i, "response"}, {s.names.Pause(i), i, "pause"}}
}

// scan finds the cache's keys on every primary, those that the server moves meanwhile included, each once. narrow is a
// glob pattern for what follows the prefix, or "" for everything.
//
// The library itself never scans. A person may: SCAN looks at every key of the server, a thousand at a time.
func (s *session) scan(ctx context.Context, narrow string, what ...string) ([]place, error) {
	var found []place
	seen := map[string]bool{}
	pattern := escapeGlob(s.names.Prefix+":v1:{") + narrow + "*"
	err := s.primaries(ctx, func(ctx context.Context, node *redis.Client) error {
		for cursor := uint64(0); ; {
			keys, next, err := node.Scan(ctx, cursor, pattern, 1000).Result()
			if err != nil {
				return fmt.Errorf("looking for the cache's keys: %w%s", err, scanAdvice(err))
			}
			for _, key := range keys {
				i, kind, ok := s.names.Parse(key)
				if !ok || seen[key] {
					continue
				}
				for _, w := range what {
					if kind == w {
						seen[key] = true
						found = append(found, place{key, i, kind})
					}
				}
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	return found, err
}

func scanAdvice(err error) string {
	switch {
	case isRefused(err):
		return "; the library never needs SCAN, this command does: give its user +scan besides the rule of docs/redis.md"
	case strings.Contains(strings.ToLower(err.Error()), "unknown command"):
		return "; this server does not offer SCAN, so what is in it cannot be listed: name an account, or a " +
			"client and a tenant"
	}
	return ""
}

// isRefused tells a lack of permissions from other errors.
func isRefused(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOPERM") }

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// batch is how many keys are asked for in one round trip.
const batch = 200

// raw is what stands at a place.
type raw struct {
	place
	fields map[string]string // of a HASH; of a STRING its one value is in the field ""
	left   int64             // milliseconds to live; negative: none, or gone
	err    error             // of this key alone
}

// read reads many places. What has gone meanwhile is left out.
func (s *session) read(ctx context.Context, places []place, each func(raw) error) error {
	for len(places) > 0 {
		now := places[:min(batch, len(places))]
		places = places[len(now):]
		pipe := s.client.Pipeline()
		hashes, values, lives := make([]*redis.MapStringStringCmd, len(now)), make([]*redis.StringCmd, len(now)),
			make([]*redis.DurationCmd, len(now))
		for i, p := range now {
			if p.what == "tokens" {
				hashes[i] = pipe.HGetAll(ctx, p.key)
			} else {
				values[i] = pipe.Get(ctx, p.key)
			}
			lives[i] = pipe.PTTL(ctx, p.key)
		}
		// Its error is the first command's that failed, and each has its own.
		if _, err := pipe.Exec(ctx); err != nil && !isReply(err) {
			return err
		}
		for i, p := range now {
			r := raw{place: p, left: lives[i].Val().Milliseconds()}
			if hashes[i] != nil {
				r.fields, r.err = hashes[i].Result()
			} else {
				var v string
				v, r.err = values[i].Result()
				r.fields = map[string]string{"": v}
			}
			if errors.Is(r.err, redis.Nil) || r.err == nil && len(r.fields) == 0 {
				continue
			}
			if isRefused(r.err) {
				return r.err
			}
			if err := each(r); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// isReply tells an error that Redis answered from one of the way there.
func isReply(err error) bool {
	var answered redis.Error
	return errors.As(err, &answered)
}
