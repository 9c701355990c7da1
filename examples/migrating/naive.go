package main

import (
	"context"
	"errors"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/redis/go-redis/v9"
)

// naive is the accessor that the service had: a key for each partition, MSAL's whole document in clear text.
type naive struct{ rdb redis.UniversalClient }

func (n naive) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	data, err := n.load(ctx, hints.PartitionKey)
	if err != nil || data == nil {
		return err
	}
	return u.Unmarshal(data)
}

func (n naive) Export(ctx context.Context, m cache.Marshaler, hints cache.ExportHints) error {
	data, err := m.Marshal()
	if err != nil {
		return err
	}
	return n.rdb.Set(ctx, "tokens:"+hints.PartitionKey, data, 0).Err()
}

func (n naive) load(ctx context.Context, partition string) ([]byte, error) {
	data, err := n.rdb.Get(ctx, "tokens:"+partition).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return data, err
}

func (n naive) remove(ctx context.Context, partition string) error {
	return n.rdb.Del(ctx, "tokens:"+partition).Err()
}
