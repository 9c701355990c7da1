package removal

import "github.com/msal-redis/msal-redis-go/internal/model"

// Explore visits every state within the bounds, atMost of them.
func Explore(r Rules, b Bounds, atMost int) model.Result {
	return model.Explore(model.System[State]{
		Start: start(b),
		Steps: func(s State, emit model.Emit[State]) { steps(r, b, s, emit) },
		Check: func(s State) string { return check(r, b, s) },
	}, atMost)
}
