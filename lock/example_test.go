package lock_test

import (
	"context"
	"errors"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/lock"
)

// One instance of many does the work; the others leave it to that one.
func ExampleLocker_TryAcquire() {
	locker := lock.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"}), nil)
	defer locker.Close()
	work := func(ctx context.Context) error { return ctx.Err() }

	lease, err := locker.TryAcquire(context.Background(), "jobs:{nightly}:lock")
	switch {
	case errors.Is(err, lock.ErrHeld):
		return // another instance is at it
	case err != nil:
		log.Print(err)
		return
	}
	defer lease.Release(context.Background())
	if err := work(lease.Context()); err != nil { // that context ends when the lease is lost
		log.Print(err)
	}
}
