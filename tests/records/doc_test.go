// Package records_test holds this promise. What stands in Redis: sealed, readable across rotations and formats, with an
// expiry, and complete. What MSAL holds beside it is kept or ended with it.
package records_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
