// Package observability_test holds this promise. What an operator sees: each metric, span and log message is documented
// and counts what happens; errors name what to change.
package observability_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
