package msalredis_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
