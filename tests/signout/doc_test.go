// Package signout_test holds this promise. A sign-out holds: it wins on every instance, over what is on its way, what
// waits for Redis, and what an instance holds that was away; a sign-in after it is kept. The same of what
// ForgetAppTokens forgets.
package signout_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
