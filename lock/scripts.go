package lock

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// What belongs together is one script: a process that dies between two commands would leave a lease without a number,
// or lose the wake-up of a lease that it has deleted. Each is run by EVALSHA, and by EVAL when the server answers
// NOSCRIPT.
var (
	//go:embed obtain.lua
	obtainSource string
	//go:embed renew.lua
	renewSource string
	//go:embed release.lua
	releaseSource string
	//go:embed remaining.lua
	remainingSource string

	obtainScript    = redis.NewScript(obtainSource)
	renewScript     = redis.NewScript(renewSource)
	releaseScript   = redis.NewScript(releaseSource)
	remainingScript = redis.NewScript(remainingSource)
)
