package locktest_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/lock/locktest"
)

// The test of a lock of one's own; the fields of the Harness connect the suite to it.
func ExampleRun() {
	_ = func(t *testing.T) {
		locktest.Run(t, locktest.Harness{})
	}
}
