package main

import (
	"context"
	"errors"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/redis/go-redis/v9"
)

// naive is the accessor one writes first, and finds in blog posts. It is short, and it shares tokens. It also reads all
// of a partition from Redis in every call, lets the last writer of a partition win, keeps tokens in clear text, fails
// with Redis, and does not keep two instances from asking for one token.
type naive struct {
	rdb    *redis.Client
	prefix string
}

func (n *naive) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	data, err := n.rdb.Get(ctx, n.key(hints.PartitionKey)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	return u.Unmarshal(data)
}

func (n *naive) Export(ctx context.Context, m cache.Marshaler, hints cache.ExportHints) error {
	data, err := m.Marshal()
	if err != nil {
		return err
	}
	return n.rdb.Set(ctx, n.key(hints.PartitionKey), data, time.Hour).Err()
}

func (n *naive) key(partition string) string { return n.prefix + ":" + partition }
