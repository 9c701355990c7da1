// Package redisfaults_test holds this promise. Redis goes away, hangs, refuses, loses or garbles what it has: nobody
// waits for it for long, no token is lost, and it is taken up again when it is back.
package redisfaults_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
