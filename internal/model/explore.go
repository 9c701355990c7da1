package model

// Result is what an exploration has found.
type Result struct {
	States int
	Broken string   // a promise that can be broken; "": none
	Trace  []string // a shortest way there
}

// Explore visits every state that can be reached from the initial one under the rules, and ends at the first step that breaks a
// promise.
func Explore(rules Rules) Result {
	type origin struct {
		from State
		step string
	}
	start := Initial()
	came := map[State]origin{start: {}}
	trace := func(s State, last string) (steps []string) {
		for steps = []string{last}; s != start; s = came[s].from {
			steps = append([]string{came[s].step}, steps...)
		}
		return steps
	}
	for queue := []State{start}; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		for _, step := range s.Steps(rules) {
			if step.Broken != "" {
				return Result{len(came), step.Broken, trace(s, step.Name)}
			}
			if _, known := came[step.To]; !known {
				came[step.To] = origin{s, step.Name}
				queue = append(queue, step.To)
			}
		}
	}
	return Result{States: len(came)}
}
