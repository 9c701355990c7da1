// Package answers_test holds this promise. The token that a caller gets is the one that it asked for: of its tenant,
// user, scopes, capabilities and credential.
package answers_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
