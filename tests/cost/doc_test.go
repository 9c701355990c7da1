// Package cost_test holds this promise. What a token that is there costs: no request, few commands, bounded memory;
// also with many tenants, users and partitions, on a processor that others want too.
package cost_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
