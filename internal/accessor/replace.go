package accessor

import (
	"context"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/failure"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redislogin"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

var _ cache.ExportReplace = (*Accessor)(nil)

// Replace gives MSAL's manager what is known of a partition. MSAL calls it before it reads its cache.
func (a *Accessor) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	if err := redisop.Usable(a.o.Life, ctx); err != nil {
		return err
	}
	m, now := a.managers.of(u), a.elapsed()
	r, confirmed, ok := a.current(m, hints.PartitionKey, now)
	if !ok {
		return a.replace(ctx, m, u, hints.PartitionKey)
	}
	a.Lookups.Memory.Add(1)
	if now-confirmed >= a.o.LocalTTL/2 {
		a.o.Store.Revalidate(r)
	}
	return nil
}

// replace is Replace where what MSAL holds is not current: it brings what is known of the partition up to date and
// hands it over.
func (a *Accessor) replace(ctx context.Context, m *manager, u cache.Unmarshaler, key string) error {
	if redislogin.Marked(ctx) {
		return failure.ErrRedisLogin
	}
	if a.replaceOnBehalfOf(m, u, key) {
		return nil
	}
	spelling := key
	key = layout.FoldKey(key)
	defer a.o.Listen() // afterwards: a new process wants its tokens before a second connection
	ctx, span := a.o.Metrics.Start(ctx, telemetry.SpanReplace)
	defer span.End()
	var p *partition
	var err error
	whole := true
	if key == "" {
		whole, err = a.loadAccounts(ctx, m)
	} else {
		p, err = a.loadPartition(ctx, m, key)
	}
	if err != nil && ctx.Err() == nil {
		span.Failed(string(redisop.Failure(err)))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && a.o.FailClosed {
		return failure.Closed("reading tokens", err)
	}
	if !whole {
		if err := failIfListing(err); err != nil {
			return err
		}
	}
	if a.loaded != nil {
		a.loaded(m, key)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := a.elapsed()
	if p != nil {
		m.putInUse(p, now) // it may have been dropped while this call waited for its turn
		p.spelling = spelling
	}
	if _, _, ok := a.current(m, spelling, now); !ok { // else another call has done it
		a.handOver(u, m, key)
	}
	return nil
}

// loadPartition brings what is known of a partition up to date and marks it as in use on m. It is so marked after an
// error too.
func (a *Accessor) loadPartition(ctx context.Context, m *manager, key string) (*partition, error) {
	r := a.record(key)
	var err error
	if !a.o.Store.Fresh(r, a.o.LocalTTL) {
		err = a.o.Store.Load(ctx, r)
		switch {
		case err != nil:
			a.Lookups.Unknown.Add(1)
		case !r.Known().Empty():
			a.Lookups.Redis.Add(1)
		default:
			a.Lookups.Nowhere.Add(1)
		}
	} else {
		a.Lookups.Process.Add(1)
	}
	return a.markInUse(m, key, r), err
}
