package lock

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// Obtaining and refreshing are redislock's scripts. Releasing is ours, because the waiters are woken in the same script
// as the lease is deleted: published by a second command, the wake-up would be lost with a process that dies between
// the two. Each is run by EVALSHA, and by EVAL when the server answers NOSCRIPT.
var (
	//go:embed fence.lua
	fenceSource string
	//go:embed release.lua
	releaseSource string
	//go:embed remaining.lua
	remainingSource string

	fenceScript     = redis.NewScript(fenceSource)
	releaseScript   = redis.NewScript(releaseSource)
	remainingScript = redis.NewScript(remainingSource)
)
