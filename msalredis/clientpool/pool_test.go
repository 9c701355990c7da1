package clientpool_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
)

type client struct{ key string }

func TestOneClientPerKey(t *testing.T) {
	var made atomic.Int64
	release := make(chan struct{})
	pool := newPool(t, 10, func(key string) (*client, error) {
		made.Add(1)
		<-release
		return &client{key}, nil
	})
	var wg sync.WaitGroup
	got := make([]*client, 32)
	for i := range got {
		wg.Go(func() { got[i], _ = pool.Get(fmt.Sprint("tenant", i%2)) })
	}
	close(release)
	wg.Wait()
	for i, c := range got {
		if c != got[i%2] || c.key != fmt.Sprint("tenant", i%2) {
			t.Fatalf("caller %d has another client than caller %d", i, i%2)
		}
	}
	if made.Load() != 2 {
		t.Errorf("%d clients were made for two keys", made.Load())
	}
}

func TestBoundedAndRetiredClientsAreMadeAnew(t *testing.T) {
	var made atomic.Int64
	pool := newPool(t, 8, func(key string) (*client, error) { made.Add(1); return &client{key}, nil })
	for i := range 1000 {
		if c, err := pool.Get(fmt.Sprint(i)); err != nil || c.key != fmt.Sprint(i) {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for pool.Len() > 8 {
		if time.Now().After(deadline) {
			t.Fatalf("%d clients are kept, want 8 at most", pool.Len())
		}
	}
	before := made.Load()
	for i := range 1000 {
		if c, err := pool.Get(fmt.Sprint(i)); err != nil || c.key != fmt.Sprint(i) {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	if made.Load() == before {
		t.Error("no client was made anew")
	}
}

func TestErrorsAreNotKept(t *testing.T) {
	broken := errors.New("no such tenant")
	fail := true
	pool := newPool(t, 1, func(key string) (*client, error) {
		if fail {
			return nil, broken
		}
		return &client{key}, nil
	})
	if _, err := pool.Get("a"); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	fail = false
	if c, err := pool.Get("a"); err != nil || c == nil {
		t.Errorf("after the error: %v", err)
	}
	if _, err := pool.Get(""); err == nil {
		t.Error("an empty key is no key")
	}
}

func TestBadArguments(t *testing.T) {
	for name, err := range map[string]error{
		"no size":                second(clientpool.New(0, func(string) (int, error) { return 0, nil })),
		"no function":            second(clientpool.New[int](1, nil)),
		"no shards":              second(clientpool.NewShards(0, func() (int, error) { return 0, nil })),
		"shards without clients": second(clientpool.NewShards[int](1, nil)),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "clientpool: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func newPool(t *testing.T, size int, newClient func(string) (*client, error)) *clientpool.Pool[*client] {
	t.Helper()
	pool, err := clientpool.New(size, newClient)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}
