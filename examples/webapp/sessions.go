package main

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// sessionStore keeps sessions on any shape of Redis. scs has a store for a single server only.
type sessionStore struct{ rdb redis.UniversalClient }

const sessionPrefix = "webapp:session:"

func (s sessionStore) FindCtx(ctx context.Context, token string) (session []byte, found bool, err error) {
	session, err = s.rdb.Get(ctx, sessionPrefix+token).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return session, err == nil, err
}

func (s sessionStore) CommitCtx(ctx context.Context, token string, session []byte, expiry time.Time) error {
	return s.rdb.Set(ctx, sessionPrefix+token, session, time.Until(expiry)).Err()
}

func (s sessionStore) DeleteCtx(ctx context.Context, token string) error {
	return s.rdb.Del(ctx, sessionPrefix+token).Err()
}

func (s sessionStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s sessionStore) Commit(token string, session []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, session, expiry)
}

func (s sessionStore) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
