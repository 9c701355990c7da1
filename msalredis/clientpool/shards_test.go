package clientpool_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
)

func newShards(t *testing.T, n int, newClient func() (*client, error)) *clientpool.Shards[*client] {
	t.Helper()
	shards, err := clientpool.NewShards(n, newClient)
	if err != nil {
		t.Fatal(err)
	}
	return shards
}

// A key always has the same client, also when many ask at once; the keys use all clients, about as often.
func TestShards(t *testing.T) {
	const n, keys = 8, 1000
	var made atomic.Int64
	shards := newShards(t, n, func() (*client, error) { return &client{fmt.Sprint(made.Add(1))}, nil })
	if made.Load() != 0 {
		t.Error("a client was made before any was used")
	}
	var got [4][keys]*client
	var all sync.WaitGroup
	for round := range got {
		all.Go(func() {
			for i := range keys {
				got[round][i], _ = shards.Get(fmt.Sprint("tenant ", i))
			}
		})
	}
	all.Wait()
	serves := map[*client]int{}
	for i, c := range got[0] {
		serves[c]++
		for _, other := range got[1:] {
			if other[i] != c || c == nil {
				t.Fatalf("key %d has two clients", i)
			}
		}
	}
	if made.Load() != n || len(serves) != n {
		t.Errorf("%d clients were made and %d are used, want %d", made.Load(), len(serves), n)
	}
	for c, k := range serves {
		if k < keys/n/3 || k > keys/n*3 {
			t.Errorf("client %s serves %d of %d keys", c.key, k, keys)
		}
	}
}

func TestShardsDoNotKeepErrors(t *testing.T) {
	broken := errors.New("no such certificate")
	fail := true
	shards := newShards(t, 1, func() (*client, error) {
		if fail {
			return nil, broken
		}
		return &client{}, nil
	})
	if _, err := shards.Get("a"); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	fail = false
	if c, err := shards.Get("a"); err != nil || c == nil {
		t.Errorf("after the error: %v", err)
	}
	if _, err := shards.Get(""); err == nil {
		t.Error("an empty key is no key")
	}
}
