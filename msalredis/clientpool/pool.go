// Package clientpool keeps one MSAL client per tenant or user, for services with many.
//
// # When to use it
//
// One MSAL client may serve many tenants (WithTenantID) or users at once: the shared cache hands it a document with all
// that are in use. MSAL searches that document entry by entry at every call, and reads it anew when a tenant or user
// comes into use that is not in it. So one client is right, and simpler, while up to some 50 are in use within the same
// second; for hundreds or thousands MSAL's own advice is one client for each, and this package keeps them:
//
//	pool := clientpool.New(10_000, func(tenant string) (confidential.Client, error) {
//		return confidential.New("https://login.microsoftonline.com/"+tenant, clientID, cred,
//			confidential.WithCache(tokens), confidential.WithHTTPClient(tokens.HTTPClient()))
//	})
//	app, err := pool.Get(tenant)
//
// A client that is made anew finds its tokens in the shared cache, and the discovery documents, which MSAL asks for
// with every new client, in the memory of the gate: it costs no request.
package clientpool

import (
	"context"
	"errors"

	"github.com/maypok86/otter/v2"
)

// Pool keeps clients of type C, which is MSAL's confidential.Client or public.Client, an Azure SDK credential, or
// whatever make returns. It is safe for concurrent use. A client that is retired while callers use it goes on
// working for them: it is only forgotten, and its tokens stay in Redis. There is nothing to close.
type Pool[C any] struct {
	clients *otter.Cache[string, C]
	load    otter.Loader[string, C]
}

// New makes a pool of at most size clients, each of some 10 KB and what its tokens take; those used least go first.
// make makes the client of a key, a tenant or a user. It is called without a lock, once at a time for a key.
//
// New panics if size is less than 1 or make is nil.
func New[C any](size int, make func(key string) (C, error)) *Pool[C] {
	if size < 1 || make == nil {
		panic("clientpool: New needs a size of at least 1 and a function that makes clients")
	}
	return &Pool[C]{
		clients: otter.Must(&otter.Options[string, C]{MaximumSize: size}),
		load:    otter.LoaderFunc[string, C](func(_ context.Context, key string) (C, error) { return make(key) }),
	}
}

// Get is the client of a key, made where there is none. Callers at the same time get the same one. An error is that of
// the function that makes clients, and is not kept: the next call tries again.
func (p *Pool[C]) Get(key string) (C, error) {
	if key == "" {
		var none C
		return none, errors.New("clientpool: the key is empty; it names the tenant or the user")
	}
	return p.clients.Get(context.Background(), key, p.load)
}

// Len is about how many clients there are.
func (p *Pool[C]) Len() int { return p.clients.EstimatedSize() }
