package gate

import "github.com/msal-redis/msal-redis-go/internal/model"

// Explore visits every state that can be reached from the initial one under the rules.
func Explore(rules Rules) model.Result {
	return model.Explore(model.System[State]{
		Start: Initial(),
		Steps: func(s State, emit model.Emit[State]) {
			for _, step := range s.Steps(rules) {
				emit(step.To, step.Broken, func() string { return step.Name })
			}
		},
		Check: func(State) string { return "" },
	}, 1_000_000)
}
