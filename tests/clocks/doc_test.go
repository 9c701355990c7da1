// Package clocks_test holds this promise. The clocks of instances differ, and no token is requested for that.
package clocks_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
