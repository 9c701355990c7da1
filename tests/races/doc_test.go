// Package races_test holds this promise. A sign-out wins over a refresh that races it, and a sign-in after it is kept,
// in every order of their steps: each order is forced, and histories of instances that act at once are checked for
// linearizability.
package races_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
