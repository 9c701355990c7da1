package clientpool

import (
	"context"
	"errors"

	"github.com/maypok86/otter/v2"
)

// Pool keeps a client of type C for each key: MSAL's confidential.Client or public.Client, or whatever the function
// returns that makes them. It is safe for concurrent use. A client that is retired while callers use it goes on
// working for them: it is only forgotten, and its tokens stay in Redis. There is nothing to close.
type Pool[C any] struct {
	clients *otter.Cache[string, C]
	load    otter.Loader[string, C]
}

// New makes a pool of at most size clients, each of some 10 KB and what its tokens take; those used least go first.
// newClient makes the client of a key, a tenant or a user. It is called without a lock, once at a time for a key. The
// error is of bad arguments.
func New[C any](size int, newClient func(key string) (C, error)) (*Pool[C], error) {
	if size < 1 || newClient == nil {
		return nil, errors.New("clientpool: New needs a size of at least 1 and a function that makes clients")
	}
	return &Pool[C]{
		clients: otter.Must(&otter.Options[string, C]{MaximumSize: size}),
		load:    otter.LoaderFunc[string, C](func(_ context.Context, key string) (C, error) { return newClient(key) }),
	}, nil
}

var errNoKey = errors.New("clientpool: the key is empty; it names the tenant or the user")

// Get is the client of a key, made where there is none. Callers at the same time get the same one. An error is that of
// the function that makes clients, and is not kept: the next call tries again.
func (p *Pool[C]) Get(key string) (C, error) {
	if key == "" {
		var none C
		return none, errNoKey
	}
	return p.clients.Get(context.Background(), key, p.load)
}

// Len is about how many clients there are.
func (p *Pool[C]) Len() int { return p.clients.EstimatedSize() }
