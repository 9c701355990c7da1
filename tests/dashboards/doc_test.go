// Package dashboards_test holds the names in the folder observe to the library's. That folder has what
// docker-compose.yml's profile "observe" runs: Prometheus's configuration and alerts, and Grafana's with a dashboard.
package dashboards_test

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
