package bus_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/internal/bus"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	handshake = time.Second
	// bound is when a test gives up on something that should come at once, on a machine with other things to do.
	bound = 20 * time.Second
)

func open(t *testing.T, client redis.UniversalClient) *bus.Bus {
	t.Helper()
	b := bus.New(client, handshake)
	t.Cleanup(b.Close)
	return b
}

func subscribe(t *testing.T, b *bus.Bus, channel string, keep int) *bus.Subscription {
	t.Helper()
	s, err := b.Subscribe(channel, keep)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// subscribed is a subscription that is confirmed, and has taken that in.
func subscribed(t *testing.T, b *bus.Bus, channel string, keep int) *bus.Subscription {
	t.Helper()
	s := subscribe(t, b, channel, keep)
	ready(t, s)
	if heard, missed := s.Take(); len(heard) != 0 || !missed {
		t.Fatalf("at first: %q, missed %v", heard, missed)
	}
	return s
}

func ready(t *testing.T, s *bus.Subscription) {
	t.Helper()
	select {
	case <-s.Ready():
	case <-time.After(bound):
		t.Fatal("not confirmed")
	}
}

// hears waits until a subscriber has heard so many messages, and fails if it is told that it missed any.
func hears(t *testing.T, s *bus.Subscription, n int) (all []string) {
	t.Helper()
	timer := time.After(bound)
	for {
		heard, missed := s.Take()
		if all = append(all, heard...); missed {
			t.Fatalf("it may have missed something, after %q", all)
		}
		if len(all) >= n {
			return all
		}
		select {
		case <-s.C():
		case <-timer:
			t.Fatalf("heard %q alone", all)
		}
	}
}

// told waits until a subscriber is told that it may have missed something.
func told(t *testing.T, s *bus.Subscription) {
	t.Helper()
	for timer := time.After(bound); ; {
		if _, missed := s.Take(); missed {
			return
		}
		select {
		case <-s.C():
		case <-timer:
			t.Fatal("not told")
		}
	}
}

func publish(t *testing.T, client redis.UniversalClient, channel, message string) {
	t.Helper()
	if err := client.Publish(context.Background(), channel, message).Err(); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// connections are the subscription connections of a server, one a line.
func connections(s *redistest.Server) []string {
	text, _ := s.Do("CLIENT", "LIST", "TYPE", "PUBSUB").(string)
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.TrimSpace(line) == "" })
}

// running are the goroutines of buses.
func running() (ours []string) {
	all := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
		if strings.Contains(stack, "msal-redis-go/internal/bus.(*Bus).") {
			ours = append(ours, stack)
		}
	}
	return ours
}
