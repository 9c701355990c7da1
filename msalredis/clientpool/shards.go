package clientpool

import (
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Shards are a fixed number of clients of type C, which is MSAL's confidential.Client or public.Client, or whatever the
// function returns that makes them. They are safe for concurrent use. There is nothing to close.
type Shards[C any] struct {
	seed      maphash.Seed
	shards    []shard[C]
	newClient func() (C, error)
}

type shard[C any] struct {
	mu     sync.Mutex // held while the client is made
	client atomic.Pointer[C]
}

// NewShards makes n shards; 32 serve thousands of tenants or users well. newClient makes the client of one: they are
// all alike. It is called when a shard is first used, once at a time for a shard. The error is of bad arguments.
func NewShards[C any](n int, newClient func() (C, error)) (*Shards[C], error) {
	if n < 1 || newClient == nil {
		return nil, errors.New("clientpool: NewShards needs at least 1 shard and a function that makes clients")
	}
	return &Shards[C]{seed: maphash.MakeSeed(), shards: make([]shard[C], n), newClient: newClient}, nil
}

// Get is the client that serves a key, which is a tenant or a user: always the same one. An error is that of the
// function that makes clients, and is not kept: the next call tries again.
func (s *Shards[C]) Get(key string) (C, error) {
	if key == "" {
		var none C
		return none, errNoKey
	}
	return s.shards[maphash.String(s.seed, key)%uint64(len(s.shards))].get(s.newClient)
}

func (s *shard[C]) get(newClient func() (C, error)) (C, error) {
	if client := s.client.Load(); client != nil {
		return *client, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if client := s.client.Load(); client != nil {
		return *client, nil
	}
	client, err := newClient()
	if err == nil {
		s.client.Store(&client)
	}
	return client, err
}
