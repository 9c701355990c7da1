package tokenstore

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// Batch is a write to one record.
type Batch struct {
	*Record
	Entries []record.Entry
	again   bool // it has waited: the log knows
}

// errOvertaken says that removals came faster than a write could take them in.
var errOvertaken = errors.New("msalredis: the partition was removed again and again")

// overtakenAtMost is how often a write takes in a removal that it did not know of before it waits.
const overtakenAtMost = 3

// Write stores a batch and takes it into what is known at once. ended: a removal that is known has ended all of it, and
// nothing was stored. An error, of Redis or of sealing, leaves the batch to be pushed later.
//
// It goes on when ctx ends, and then returns ctx's error.
func (st *Store) Write(ctx context.Context, b Batch) (ended bool, err error) {
	replaces := b.replaces(st.o.Clock.Now())
	read := int64(0) // of a tombstone that has refused the write, whatever it says: a damaged one tells of no removal
	for range overtakenAtMost {
		b.Entries = st.dated(b.Record, b.Entries)
		effects, assumed, known := st.begin(b)
		if len(effects.Write) == 0 {
			st.o.Metrics.Wrote(telemetry.RefusedAfterSignOut)
			return true, nil
		}
		b.Entries = effects.Write
		st.weigh(b.Record)
		refusedBy, err := st.send(ctx, b, assumed, max(known, read))
		st.carryOut(b.Record, b.Apply(record.Ended{}))
		switch {
		case err != nil:
			st.pending.keep(b)
			if !b.again && ctx.Err() == nil {
				st.o.Metrics.Wrote(telemetry.Kept)
			}
			return false, err
		case refusedBy == 0:
			st.o.Metrics.Wrote(telemetry.Stored)
			st.o.OnStored(b)
			if replaces {
				st.background(func(ctx context.Context) { _ = st.log.announce(ctx, b.ID) })
			}
			return false, nil
		}
		read = refusedBy
	}
	st.pending.keep(b)
	return false, errOvertaken
}

// replaces tells whether an app's token takes the place of one that others go on giving, as after a challenge, of which
// the change log is to tell. Of one that is due it need not: whoever has it looks for a newer one.
func (b Batch) replaces(now redistime.Time) bool {
	return !b.User && slices.ContainsFunc(b.Entries, func(e record.Entry) bool {
		old, ok := b.Known().Entry(e.Field)
		return ok && old.Secret != e.Secret && !old.IsDue(now)
	})
}

// begin takes a batch into what is known. known is the latest removal that it is of after.
func (st *Store) begin(b Batch) (effects record.Effects, assumed *record.Snapshot, known int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	effects = b.state.Apply(record.Writing{Entries: b.Entries, At: st.o.Clock.Now(), Now: st.elapsed()})
	b.publish()
	assumed = b.state.Snapshot()
	if assumed != nil {
		known = assumed.Removed.Latest().Micros()
	}
	return effects, assumed, known
}

// send writes entries to Redis. refusedBy: Redis has a removal as of then that was not known, and the writer must leave
// out what that has ended; 0: none.
func (st *Store) send(
	ctx context.Context, b Batch, assumed *record.Snapshot, known int64,
) (refusedBy int64, err error) {
	args := []any{digits(known), "0"}
	if b.User {
		args[1] = digits(st.o.UserTTL.Milliseconds())
	}
	key := st.o.Names.Tokens(b.ID)
	for _, e := range b.Entries {
		value, err := st.sealEntry(key, e, b.again) // a key service may be away, and be back
		if err != nil {
			return 0, err
		}
		args = append(args, e.Field, value)
	}
	// An operation whose caller left, or whose time ran out, may still be carried out: the outcome is taken in
	// by whoever sees it, and the stamps make doing it twice harmless.
	var refused atomic.Int64
	err = st.o.Redis.Run(ctx, layout.StoreScript, []string{key, st.o.Names.Tombstone(b.ID)},
		func(reply redisop.Reply) error {
			if len(reply.Fields) != 4 {
				return redisop.ErrReply
			}
			removed := layout.ParseTombstone(reply.Fields[0], reply.Time)
			if reply.Number(1) == -1 {
				refused.Store(max(reply.Number(2), 1))
				st.carryOut(b.Record, b.Apply(record.Refused{Removed: removed, At: reply.Time}))
				return nil
			}
			st.carryOut(b.Record, b.Apply(record.Stored{
				Entries: b.Entries, Assumed: assumed, Version: reply.Number(1), Before: reply.Number(2),
				Applied: reply.Number(3) == 1, Removed: removed, At: reply.Time, Now: reply.Sent,
			}))
			return nil
		}, args...)
	if err != nil && ctx.Err() == nil && !b.again {
		st.o.Log.Warn("tokens could not be stored; they are kept and stored when Redis takes them", "record",
			string(b.ID), "error", err)
	}
	return refused.Load(), err
}

// dated are entries with the sessions that this process has begun as late as is known by now: the answer that told of a
// removal may be the first that this process has of the server with the record, whose clock is ahead of the others';
// and a removal may be as of a time that had not come when it was carried out.
func (st *Store) dated(r *Record, entries []record.Entry) []record.Entry {
	out := slices.Clone(entries)
	removed := r.Removed()
	for i, e := range out {
		latest := st.o.Clock.Latest(int64(e.Began))
		if e.Began == 0 || latest == 0 {
			continue
		}
		if e.Session > st.o.Clock.Now().Add(layout.Ahead) { // by a clock of our own that was wrong
			e.Session = 0
		}
		out[i].Session = removed.Session(max(e.Session, latest), latest)
	}
	return out
}
