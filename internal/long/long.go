package long

import (
	"os"
	"testing"
)

// Test skips a test that takes long, unless this is a run for such tests.
func Test(t testing.TB) {
	t.Helper()
	if os.Getenv("MSALREDIS_LONG") != "1" {
		t.Skip("takes long: make test-long runs it, as does MSALREDIS_LONG=1")
	}
}
