package lock

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/lock/locktest"
)

// TestConformance holds the package to the suite that it offers to others.
func TestConformance(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client()
	locktest.Run(t, locktest.Harness{
		Open: func() (locktest.Locker, func() error, error) {
			client := redis.NewClient(s.Options())
			l := New(client, &Options{TTL: time.Second})
			return locktest.Adapt(l), func() error {
				err := l.Close()
				if closed := client.Close(); err == nil {
					err = closed
				}
				return err
			}, nil
		},
		Key:     func() string { return "msal:v1:{" + redistest.Prefix(t) + "}:lock" },
		Evict:   func(ctx context.Context, key string) error { return admin.Del(ctx, key).Err() },
		ErrHeld: ErrHeld,
		ErrLost: ErrLost,
		TTL:     time.Second,
	})
}
