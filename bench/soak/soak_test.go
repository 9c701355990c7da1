// Package soak is the library under load for long: what one process takes of memory, goroutines, connections and file
// descriptors must not grow with time. `make soak` runs it for ten minutes with 10,000 users and draws the picture in
// docs/reliability.md; make test-long runs a short form with the same checks.
package soak

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
	"github.com/msal-redis/msal-redis-go/serializer"
)

var (
	duration = flag.Duration("duration", 20*time.Second, "how long the load lasts, after everybody has signed in")
	users    = flag.Int("users", 120, "how many users there are")
	out      = flag.String("out", "", "folder for soak.csv and soak.svg; empty: none")
)

// perAssertion is what the Cache takes an assertion's tokens in MSAL's memory for (msalredis, newAssertions).
const perAssertion = 8 << 10

func TestMain(m *testing.M) {
	if subprocess.Role() == workerRole {
		os.Exit(work())
	}
	goleak.VerifyTestMain(m)
}

// TestLongSoak: a process with more users than its memory may hold, and more on-behalf-of assertions than MSAL may
// keep, takes no more in the last third of the load than in the middle one; no call fails; and nothing is left after
// Close.
//
// The emulator, which remembers much, and Redis are in other processes than the load that is measured.
func TestLongSoak(t *testing.T) {
	long.Test(t)
	redis := redistest.Start(t)
	entra, err := entratest.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { entra.Close() })
	entra.AddApp(entratest.App{ClientID: clientID, Secret: clientSecret})
	for i := range *users {
		entra.AddUser(entratest.User{ObjectID: fmt.Sprintf("%08d-0000-4000-8000-00000000000a", i),
			TenantID: entratest.DefaultTenant, Username: username(i)})
	}
	key, err := serializer.GenerateKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	l := load{
		Redis: redis.Addr(), Entra: entra.Host(), CA: string(entra.CAPEM()), Keys: key.Export(), Prefix: redistest.Prefix(t),
		Users: *users, Duration: *duration,
		// Less than the users' tokens take.
		LocalBytes: 32 << 20, Clients: *users / 2, Every: 2 * time.Second, Pause: 10 * time.Millisecond,
		AssertionPause: 12 * time.Millisecond,
	}
	life := 10 * time.Minute
	if *duration < time.Minute {
		l.LocalBytes, l.Every, l.Pause, l.AssertionPause, life = 512<<10, 100*time.Millisecond, 4*time.Millisecond, 0,
			5*time.Minute+4*time.Second
	}
	l.Assertions = 3 * l.LocalBytes / perAssertion
	entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = life })

	worker, err := subprocess.Start[string, said](subprocess.Spec{Role: workerRole, Setup: l})
	if err != nil {
		t.Fatal(err)
	}
	begun, fed := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		worker.Kill()
		<-fed
	})
	if err := worker.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { // what an API receives, as fast as the worker takes it
		defer close(fed)
		select {
		case <-begun:
		case <-ctx.Done():
		}
		for n := 0; ctx.Err() == nil; n++ {
			token, err := entra.UserToken(clientID, username(n%*users), "")
			if err != nil || worker.Send(ctx, token) != nil {
				return
			}
		}
	}()

	var samples []sample
	var result outcome
	for {
		line, err := receive(ctx, worker)
		if errors.Is(err, subprocess.ErrEnded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		entra.ResetRequests()
		if line.Begun {
			close(begun) // not before: an assertion does not live for ever
		}
		if line.End != nil {
			result = *line.End
		}
		if line.Sample != nil {
			samples = append(samples, *line.Sample)
			if n := len(samples); n%30 == 0 && *duration >= time.Minute {
				fmt.Fprintf(os.Stderr, "soak: %s\n", line.Sample)
			}
		}
	}
	if err := worker.End(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d users, %d calls, %d assertions, %d samples; at the end %s", *users, result.Calls, result.Assertions,
		len(samples), samples[len(samples)-1])
	if result.Failed > 0 {
		t.Errorf("%d of %d calls failed, the first with: %s", result.Failed, result.Calls, result.Error)
	}
	if result.Left != "" {
		t.Errorf("after Close: %s", result.Left)
	}
	for _, r := range resources {
		if r.name == resident && *duration < time.Minute {
			continue // Go gives memory back over minutes: within seconds it went from 203 to 149 MiB, with a heap of 18
		}
		if err := r.flat(samples); err != nil {
			t.Error(err)
		}
	}
	if *out != "" {
		if err := write(*out, samples); err != nil {
			t.Fatal(err)
		}
		t.Logf("wrote soak.csv and soak.svg into %s", filepath.Clean(*out))
	}
}

// receive is bounded by many times what the sign-ins take.
func receive(ctx context.Context, worker *subprocess.Child[string, said]) (said, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	return worker.Receive(ctx)
}
