// Package entrafaults_test holds this promise. Entra ID does not answer, throttles, or sends what nobody should
// believe: old tokens serve to their end, what is shared of it is what the token endpoint said, and memory stays
// bounded.
package entrafaults_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
