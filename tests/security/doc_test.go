// Package security_test holds this promise. The threat model of SECURITY.md: no secret is readable in Redis or in what
// is written, and what is planted in Redis takes no token.
package security_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
