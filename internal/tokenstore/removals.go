package tokenstore

import (
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// removals remembers what was removed, here or elsewhere, also of partitions that this process holds no record of: what
// was asked for before may arrive after, and MSAL's memory may hold what this process never saw.
type removals struct {
	known  *bounded.Recent[ID, removal]
	latest atomic.Int64 // the latest time of a removal, of all
	learnt atomic.Int64 // when the last one was learnt of, since the process's start
}

// removal is what is known of the removals of a partition.
type removal struct {
	known    layout.Tombstone
	removing layout.Tombstone // asked for here, and not carried out yet
	learnt   time.Duration    // when the last one was learnt of, since the process's start
}

// removalsAtMost bounds them. A request takes 75 seconds at most.
const removalsAtMost = 16384

func newRemovals() *removals {
	return &removals{known: bounded.NewRecent[ID, removal](removalsAtMost)}
}

func (rs *removals) of(pid ID) removal {
	r, _ := rs.known.Of(pid)
	return r
}

func (rs *removals) change(pid ID, now time.Duration, f func(*removal)) {
	rs.known.Change(pid, func(r removal) removal {
		f(&r)
		r.learnt = now
		return r
	})
	rs.learnt.Store(int64(now))
}

// learn takes in what Redis or another instance says was removed.
func (rs *removals) learn(pid ID, removed layout.Tombstone, now time.Duration) {
	rs.change(pid, now, func(r *removal) { r.known = r.known.Merge(removed) })
	raise(&rs.latest, removed.Latest())
}

// raise makes a time the latest, unless a later one is there.
func raise(latest *atomic.Int64, t redistime.Time) {
	for old := latest.Load(); old < t.Micros(); old = latest.Load() {
		if latest.CompareAndSwap(old, t.Micros()) {
			return
		}
	}
}

// Removed is what is known to be removed of a partition, what this process is removing included.
func (st *Store) Removed(pid ID) layout.Tombstone {
	r := st.removals.of(pid)
	return r.known.Merge(r.removing)
}

// Asked is when something is asked for that is asked for now: told is Redis's time, as it says or as we believe. It is
// of after each removal that this process knows of and of before each that it begins later, whatever the precision of
// its clock, and no two are the same.
func (st *Store) Asked(told redistime.Time) redistime.Time {
	for {
		issued := redistime.Time(st.issued.Load())
		next := issued + 1
		// it was by our own clock, before Redis's was known, or by a Redis that is gone
		wrong := issued > told.Add(2*layout.Ahead)
		if wrong {
			next = 0
		}
		asked := max(told, min(max(next, redistime.Time(st.removals.latest.Load())), told.Add(layout.Ahead)))
		if asked <= issued && !wrong || st.issued.CompareAndSwap(issued.Micros(), asked.Micros()) {
			return asked
		}
	}
}

// Ended tells whether a removal has ended what was asked for at a time: began is when that was, since the process's
// start, where it was asked for here; else 0.
func (st *Store) Ended(pid ID, asked redistime.Time, began time.Duration) bool {
	removed := st.Removed(pid)
	if began > 0 {
		latest := st.o.Clock.Latest(int64(began))
		asked = removed.Session(max(asked, latest), latest)
	}
	return asked < removed.Whole
}

// LearntOfRemoval is when the last removal of a partition was learnt of, since the process's start; 0: none was. pid
// "": of any.
func (st *Store) LearntOfRemoval(pid ID) time.Duration {
	if pid == "" {
		return time.Duration(st.removals.learnt.Load())
	}
	return st.removals.of(pid).learnt
}
