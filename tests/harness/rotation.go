package harness

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// rotate changes the limited user's password again and again until the test ends, also over restarts; the two before
// still do, as in any rotation that nobody notices, and none older. It returns a file that holds the one that is right.
func rotate(t testing.TB, s *redistest.Server) (file string) {
	file = filepath.Join(t.TempDir(), "password")
	admin := s.Client()
	var valid []string
	next := func(ctx context.Context) error {
		now := append(slices.Clone(valid), rand.Text())
		now = now[max(0, len(now)-3):]
		rule := []any{"ACL", "SETUSER", LimitedUser}
		for _, part := range redistest.Rules("on resetpass allkeys allchannels +@all") {
			rule = append(rule, part)
		}
		for _, password := range now {
			rule = append(rule, ">"+password)
		}
		if err := admin.Do(ctx, rule...).Err(); err != nil {
			return err
		}
		if err := admin.Do(ctx, "ACL", "SAVE").Err(); err != nil {
			return err
		}
		if err := os.WriteFile(file+".new", []byte(now[len(now)-1]), 0o600); err != nil {
			return err
		}
		valid = now
		return os.Rename(file+".new", file)
	}
	ctx, stop := context.WithCancel(context.Background())
	if err := next(ctx); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(rotation)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = next(ctx) // the test may have killed the server
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-stopped
	})
	return file
}

// rotation is the time between two changes of a password.
const rotation = 100 * time.Millisecond
