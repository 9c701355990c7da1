package msalredis

import "github.com/maypok86/otter/v2"

// removals remembers which partitions were removed lately, here or elsewhere: what was asked for before may arrive after.
type removals struct {
	generations *otter.Cache[id, int64]
}

// removalsAtMost bounds them. A request takes 75 seconds at most (leadAtMost).
const removalsAtMost = 4096

func newRemovals() *removals {
	return &removals{otter.Must(&otter.Options[id, int64]{MaximumSize: removalsAtMost, Executor: atOnce})}
}

func (r *removals) note(pid id, generation int64) {
	r.generations.Compute(pid, func(old int64, _ bool) (int64, otter.ComputeOp) {
		return max(old, generation), otter.WriteOp
	})
}

// since tells whether a partition was removed after a time of Redis.
func (r *removals) since(pid id, us int64) bool {
	generation, _ := r.generations.GetIfPresent(pid)
	return us < generation
}
