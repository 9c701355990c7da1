package msalredis

import (
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// removals remembers which partitions were removed lately, here or elsewhere: what was asked for before may arrive after, and
// MSAL's memory may hold what this package never saw. MSAL writes a sign-in to it and does not export it where scopes were
// declined, or where the caller has left.
type removals struct {
	known  *otter.Cache[id, removal]
	latest atomic.Int64 // the greatest learnt of all
}

// removal is what is known of the removals of a partition. Times are since the Cache's start, but for generation.
type removal struct {
	generation int64
	told       int64 // when it was told of generation
	here       int64 // when the last one was asked for in this process
	learnt     int64 // when it learnt of the last one, by whatever way
}

// removalsAtMost bounds them. A request takes 75 seconds at most (leadAtMost).
const removalsAtMost = 16384

func newRemovals() *removals {
	return &removals{known: otter.Must(&otter.Options[id, removal]{MaximumSize: removalsAtMost, Executor: atOnce})}
}

// note takes in a removal of a generation; here: that this process was asked for.
func (r *removals) note(pid id, generation, now int64, here bool) {
	r.update(pid, func(v *removal) {
		if v.generation < generation {
			v.generation, v.told = generation, now
		}
		if here {
			v.here = now
		}
		v.learnt = now
	})
	r.latest.Store(now)
}

// saw takes in that a look has found a removal, some time after it.
func (r *removals) saw(pid id, now int64) {
	r.update(pid, func(v *removal) { v.learnt = now })
	r.latest.Store(now)
}

func (r *removals) update(pid id, change func(*removal)) {
	r.known.Compute(pid, func(v removal, _ bool) (removal, otter.ComputeOp) {
		change(&v)
		return v, otter.WriteOp
	})
}

// since tells whether a partition was removed after a time of Redis.
func (r *removals) since(pid id, us int64) bool {
	v, _ := r.known.GetIfPresent(pid)
	return us < v.generation
}

// ended tells whether what a token belongs to was removed after the token was asked for. In this process the order of the two
// is known; of a removal elsewhere Redis's time tells.
func (c *Cache) ended(o origin) bool {
	for _, pid := range o.owners {
		v, ok := c.removals.known.GetIfPresent(pid)
		if ok && (o.began < v.here || o.began < v.told && c.askedAt(o) < v.generation) {
			return true
		}
	}
	return false
}

// askedAt is Redis's time when a token was asked for. That of a sign-in may have been told by another clock than the one that has
// dated a sign-out: the one that was ahead counts.
func (c *Cache) askedAt(o origin) int64 {
	if !o.fresh || !o.timed {
		return o.stamp
	}
	return max(o.session, c.clock.Latest(o.began).Micros())
}

// knownAt is the generation of the last removal of a partition, if that was known at a moment since the Cache's start; else 0.
func (r *removals) knownAt(pid id, moment int64) int64 {
	v, _ := r.known.GetIfPresent(pid)
	if v.told > moment {
		return 0
	}
	return v.generation
}

// before tells whether all that is known of the removals of a partition was known at a moment since the Cache's start.
func (r *removals) before(pid id, moment int64) bool {
	v, _ := r.known.GetIfPresent(pid)
	return v.learnt <= moment
}

// unemptied tells whether a manager whose contents are of a moment may hold what a removal has ended: written before the removal
// was learnt of, or by a request that was under way then. pid "": of any partition.
func (r *removals) unemptied(pid id, filled int64) bool {
	learnt := r.latest.Load()
	if pid != "" {
		v, _ := r.known.GetIfPresent(pid)
		learnt = v.learnt
	}
	return learnt != 0 && filled < learnt+int64(leadAtMost)
}
