package tokenstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Removal is a removal that this process was asked for: of what belongs to a partition, or of its tokens that cover
// some scopes, and was asked for before it.
type Removal struct {
	*Record
	Only msaldoc.Scopes // none: all of the partition

	asked redistime.Time   // by our own idea of Redis's clock; 0: nothing is known of that
	wrong time.Duration    // how wrong that may be
	least redistime.Time   // later than each session that was known here; 0: nothing is known of Redis's clock
	began int64            // since the process's start
	here  layout.Tombstone // what is forgotten in this process at once
}

// Removed is what is forgotten in this process before Redis has carried the removal out.
func (m *Removal) Removed() layout.Tombstone { return m.here }

// BeginRemoval forgets in this process what a removal is of. End it with [Store.Remove].
func (st *Store) BeginRemoval(r *Record, only msaldoc.Scopes) *Removal {
	wrong := st.o.Clock.Error() / 2
	now := st.o.Clock.Now().Add(wrong) // in the middle: a late removal may end neither too little nor too much
	until := now.Add(layout.Ahead)
	m := &Removal{Record: r, Only: only, began: st.o.Clock.Elapsed()}
	least := max(r.Latest(until), min(redistime.Time(st.issued.Load()), until)) + 1
	_, known := st.o.Clock.Offset()
	if known { // else what was issued here is by our own clock, which may be hours ahead, and says nothing of Redis's
		m.asked, m.wrong, m.least = now, wrong, least
	}
	m.here = m.as(max(now, least))
	r.Apply(record.Removing{Removed: m.here})
	st.weigh(r)
	st.removals.change(r.ID, st.elapsed(), func(x *removal) { x.removing = x.removing.Merge(m.here) })
	if known {
		raise(&st.removals.latest, m.here.Latest())
	}
	return m
}

// as is the removal as of a time.
func (m *Removal) as(of redistime.Time) layout.Tombstone {
	if len(m.Only) == 0 {
		return layout.Tombstone{Whole: of}
	}
	return layout.Tombstone{Some: []layout.Forgotten{{Scopes: layout.HashScopes(m.Only), AsOf: of}}}
}

// Carried is what Redis has carried out.
type Carried struct {
	Removed layout.Tombstone
	Left    int64    // how many entries are left of later sessions
	Listed  []string // what was answered with the partition's tokens
}

// Remove carries a removal out in Redis. first: it is the first try. Another is as of when the removal was asked for:
// it may come late, after another sign-in.
func (st *Store) Remove(ctx context.Context, m *Removal, first bool) (Carried, error) {
	asked := m.asked
	if asked == 0 && !first {
		if _, known := st.o.Clock.Offset(); !known {
			if err := st.Reload(ctx, m.Record); err != nil {
				return Carried{}, err
			}
		}
		asked = st.o.Clock.Now().Add(st.o.Clock.Error()/2) - redistime.Time((st.o.Clock.Elapsed()-m.began)/1000)
	}
	var done Carried
	remove := func(waited time.Duration) (err error) {
		done, err = st.remove(ctx, m, asked, first, waited)
		return err
	}
	var err error
	if m.User {
		err = remove(0)
	} else {
		err = st.log.announced(ctx, m.Record, remove)
	}
	if err != nil || len(m.Only) == 0 {
		return done, err
	}
	// The tombstone is there, so none comes back; what it has ended is only known to who can read it.
	gone, err := st.fields(ctx, m.Record, func(e record.Entry) bool { return e.EndedBy(done.Removed) })
	if err == nil && len(gone) > 0 {
		err = st.discard(ctx, m.Record, gone)
	}
	return done, err
}

// remove carries a removal out in Redis. waited is for how long it has waited since it was asked for.
func (st *Store) remove(
	ctx context.Context, m *Removal, asked redistime.Time, first bool, waited time.Duration,
) (Carried, error) {
	n := st.o.Names
	late, scopes := int64(0), ""
	if first {
		// Before its caller can have given it up, by whatever clock.
		late = max((st.o.OpTimeout + waited - m.wrong).Microseconds(), 1)
	}
	if len(m.Only) > 0 {
		scopes = layout.HashScopes(m.Only)
	}
	least := redistime.Time(0)
	if m.User {
		least = m.least
	}
	var done atomic.Pointer[Carried]
	keys := []string{n.Tokens(m.ID), n.Tombstone(m.ID), n.RIDs(m.ID)}
	err := st.o.Redis.Run(ctx, layout.SignoutScript, keys, func(reply redisop.Reply) error {
		if len(reply.Fields) < 2 {
			return redisop.ErrReply
		}
		removed := layout.ParseTombstone(reply.Fields[0], reply.Time)
		done.Store(&Carried{Removed: removed, Left: max(reply.Number(1), 0), Listed: reply.Fields[2:]})
		st.carryOut(m.Record, m.Apply(record.Carried{Asked: m.here, Removed: removed, At: reply.Time}))
		st.Hear(m.ID, removed) // the holder may have been evicted, and have a successor
		st.removals.change(m.ID, st.elapsed(), func(x *removal) {
			if m.here.Covers(x.removing) {
				x.removing = layout.Tombstone{}
			}
		})
		return nil
	}, digits(layout.TombstoneLife.Milliseconds()), digits(asked.Micros()), digits(late), digits(least.Micros()), scopes,
		digits(m.wrong.Microseconds()))
	if err != nil {
		return Carried{}, err
	}
	return *done.Load(), nil
}

// bury tells Redis again of removals that it has lost.
func (st *Store) bury(ctx context.Context, r *Record) error {
	removed := r.Known().Removed
	facts := removed.Some
	if removed.Whole > 0 {
		facts = append(facts[:len(facts):len(facts)], layout.Forgotten{AsOf: removed.Whole})
	}
	n := st.o.Names
	again := func(time.Duration) error {
		for _, f := range facts {
			keys := []string{n.Tokens(r.ID), n.Tombstone(r.ID), n.RIDs(r.ID)}
			if err := st.o.Redis.Run(ctx, layout.SignoutScript, keys, func(redisop.Reply) error { return nil },
				digits(layout.TombstoneLife.Milliseconds()), digits(f.AsOf.Micros()), "0", "0", f.Scopes, "0"); err != nil {
				return err
			}
		}
		return nil
	}
	if r.User {
		return again(0)
	}
	return st.log.announced(ctx, r, again)
}

// Hear takes in what another instance has removed.
func (st *Store) Hear(pid ID, removed layout.Tombstone) {
	st.removals.learn(pid, removed, st.elapsed())
	if r := st.Peek(pid); r != nil {
		st.carryOut(r, r.Apply(record.Heard{Removed: removed}))
	}
}
