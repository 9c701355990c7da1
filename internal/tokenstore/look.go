package tokenstore

import (
	"context"
	"slices"
	"sync"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// Load asks Redis about a record; callers at the same time share one question. After an error what was known before
// stays known.
func (st *Store) Load(ctx context.Context, r *Record) error {
	r.asking.Lock()
	asked := r.asked.Load()
	mine := asked == nil
	if mine {
		asked = st.shared(ctx, r)
	}
	r.asking.Unlock()
	if mine {
		st.o.Redis.Begin(ctx, asked)
	}
	return asked.Wait(ctx)
}

// Reload is Load with a question of its own: what was asked before the caller had the lease may not know what the
// holder before it stored.
func (st *Store) Reload(ctx context.Context, r *Record) error {
	o := st.question(ctx, r, nil)
	st.o.Redis.Begin(ctx, o)
	return o.Wait(ctx)
}

// Revalidate has a record confirmed in the background, by the change log or by asking about it, so that one in use
// never gets older than LocalTTL and nobody waits for that.
func (st *Store) Revalidate(r *Record) {
	if !r.User {
		st.log.heed()
	}
	if st.log.vouches(r, st.elapsed()) || st.o.Redis.Breaker.IsOpen() || !r.asking.TryLock() {
		return
	}
	defer r.asking.Unlock()
	if r.asked.Load() == nil {
		st.o.Redis.Start(st.shared(st.o.Life, r))
	}
}

// shared is a question that callers share until it has ended: what it holds on to, its caller's context and what was
// known before, must not stay with the record. The caller holds r.asking.
func (st *Store) shared(ctx context.Context, r *Record) *redisop.Operation {
	o := st.question(ctx, r, nil)
	o.AtEnd(func() { r.asked.CompareAndSwap(o, nil) })
	r.asked.Store(o)
	return o
}

// Mend looks at a record because another instance asks for what it finds damaged.
func (st *Store) Mend(pid ID) {
	r := st.Peek(pid)
	if r == nil {
		return
	}
	r.Apply(record.Mend{})
	st.background(func(ctx context.Context) { _ = st.Load(ctx, r) })
}

// fields are those of a record in Redis whose entries are chosen, each with its value.
func (st *Store) fields(ctx context.Context, r *Record, chosen func(record.Entry) bool) ([]any, error) {
	var mu sync.Mutex
	var found []any
	o := st.question(ctx, r, func(e record.Entry, value string) {
		if chosen(e) {
			mu.Lock()
			defer mu.Unlock()
			found = append(found, e.Field, value)
		}
	})
	st.o.Redis.Begin(ctx, o)
	err := o.Wait(ctx)
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(found), err
}

// question is the operation that asks Redis about a record. see, if not nil, sees every entry there, whatever is known.
func (st *Store) question(ctx context.Context, r *Record, see func(e record.Entry, value string)) *redisop.Operation {
	r.mu.Lock()
	before, whole := r.state.Snapshot(), r.state.Whole()
	r.mu.Unlock()
	version := ""
	if before != nil && before.Version > 0 && !whole && see == nil {
		version = digits(before.Version)
	}
	life := int64(0)
	if r.User {
		life = st.o.UserTTL.Milliseconds()
	}
	keys := []string{st.o.Names.Tokens(r.ID), st.o.Names.Tombstone(r.ID)}
	return st.o.Redis.Prepare(ctx, layout.LoadScript, keys, func(reply redisop.Reply) error {
		looked, err := st.read(r, reply, see)
		if err != nil {
			return err
		}
		looked.Whole = whole
		looked.Same = version != "" && digits(looked.Version) == version
		st.carryOut(r, r.Apply(looked))
		return nil
	}, version, digits(life))
}

// read takes an answer of load.lua apart.
func (st *Store) read(r *Record, reply redisop.Reply, see func(record.Entry, string)) (record.Looked, error) {
	if len(reply.Fields)%2 == 0 {
		return record.Looked{}, redisop.ErrReply
	}
	tombstone, fields := reply.Fields[0], reply.Fields[1:]
	looked := record.Looked{
		Removed: layout.ParseTombstone(tombstone, reply.Time), At: reply.Time, Now: reply.Sent,
		Entries: make(map[string]record.Entry, len(fields)/2), Damaged: map[string]record.Damage{},
	}
	looked.Planted = tombstone != "" && looked.Removed.Latest() == 0
	if len(fields) > 0 {
		looked.Version = 1
	}
	for i := 0; i < len(fields); i += 2 {
		field, value := fields[i], fields[i+1]
		if field == layout.VersionField {
			looked.Version = max(looked.Version, reply.Number(i+2)) // after the tombstone and the field
			continue
		}
		e, err := st.open(r, field, value)
		if err != nil {
			looked.Damaged[field] = record.Damage{Value: value, Err: err}
			continue
		}
		looked.Entries[field] = e
		if see != nil {
			see(e, value)
		}
	}
	return looked, nil
}

// carryOut does what is to be done about an event.
func (st *Store) carryOut(r *Record, effects record.Effects) {
	st.weigh(r)
	if effects.Learnt {
		st.removals.learn(r.ID, r.Known().Removed, st.elapsed())
	}
	if effects.AskMend {
		st.background(func(ctx context.Context) { st.o.AskMend(ctx, r.ID) })
	}
	if effects.Bury {
		st.background(func(ctx context.Context) { _ = st.bury(ctx, r) })
	}
	if len(effects.Restore) == 0 {
		return
	}
	st.o.Log.Info("Redis lost a user's record; it is written back from memory")
	st.o.Metrics.Wrote(telemetry.Restored)
	st.background(func(ctx context.Context) {
		if len(effects.Discard) > 0 && st.discard(ctx, r, effects.Discard) != nil {
			return // the next look finds it again
		}
		_, _ = st.Write(ctx, Batch{Record: r, Entries: effects.Restore})
	})
}

// discard deletes fields of a record which hold what the caller has found there: field, value, ...
func (st *Store) discard(ctx context.Context, r *Record, fields []any) error {
	return st.o.Redis.Run(ctx, layout.DiscardScript, []string{st.o.Names.Tokens(r.ID)},
		func(redisop.Reply) error { return nil }, fields...)
}
