package harness

import (
	"time"

	"github.com/msal-redis/msal-redis-go/msalredis"
)

// ShortOpTimeout is the OpTimeout that users have: these tests are about a Redis that does not answer.
func ShortOpTimeout(o *msalredis.Options) { o.OpTimeout = 250 * time.Millisecond }
