package harness

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Hooked is a client whose hooks the library passes: of a *redis.Client it makes a copy, without hooks, that has a
// time-out.
type Hooked struct{ redis.UniversalClient }

// Refusing answers chosen commands with an error while it is on.
type Refusing struct {
	On     atomic.Bool
	Chosen func(redis.Cmder) bool
	Stores atomic.Bool // refuse stores too
}

func (r *Refusing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (r *Refusing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (r *Refusing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if r.On.Load() && r.Chosen(cmd) || r.Stores.Load() && IsStore(cmd) {
			cmd.SetErr(refusal{})
			return refusal{}
		}
		return next(ctx, cmd)
	}
}

// refusal is an answer of a server that is there: it does not open the breaker.
type refusal struct{}

func (refusal) Error() string { return "ERR refused by the test" }
func (refusal) RedisError()   {}

// IsSignOut tells the script of a sign-out by its keys (signout.lua).
func IsSignOut(cmd redis.Cmder) bool { return HasKeys(cmd, ":tokens", ":tombstone", ":rids") }

// IsStore tells the script that writes entries (store.lua) from that which reads them by its many arguments.
func IsStore(cmd redis.Cmder) bool {
	return HasKeys(cmd, ":tokens", ":tombstone") && cmd.Args()[2] == 2 && len(cmd.Args()) > 3+2+3
}

func HasKeys(cmd redis.Cmder, ends ...string) bool {
	args := cmd.Args()
	if !strings.HasPrefix(strings.ToLower(cmd.Name()), "eval") || len(args) < 3+len(ends) {
		return false
	}
	for i, end := range ends {
		if key, ok := args[3+i].(string); !ok || !strings.HasSuffix(key, end) {
			return false
		}
	}
	return true
}

// StepOf names a command by the keys it is given.
func StepOf(cmd redis.Cmder) string {
	switch {
	case IsSignOut(cmd):
		return "sign out"
	case HasKeys(cmd, ":response", ":tombstone", ":pause"):
		if len(cmd.Args()) == 3+3+1 {
			return "forget answer"
		}
		return "keep answer"
	case HasKeys(cmd, ":response", ":pause"):
		return "look for answer"
	case HasKeys(cmd, ":rids", ":tombstone"):
		return "list answer"
	case IsStore(cmd):
		return "store"
	case HasKeys(cmd, ":tokens", ":tombstone"):
		return "look"
	case HasKeys(cmd, ":lock"):
		if len(cmd.Args()) == 7 {
			return "lease"
		}
		return "release"
	}
	switch cmd.Name() {
	case "publish", "zrem":
		return cmd.Name()
	}
	return ""
}
