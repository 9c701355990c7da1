// Package gate_test holds this promise. One token costs one token request, for every grant, whatever becomes of the
// instance or the caller that sent it; a refresh token is redeemed once, and no caller waits for a refresh.
package gate_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
