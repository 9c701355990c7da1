// Package topologies_test holds this promise. The promises hold on every shape of Redis, with the rights and the client
// settings that docs/redis.md gives.
package topologies_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
