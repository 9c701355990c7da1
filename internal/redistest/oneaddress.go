package redistest

import "testing"

// ByOneAddress runs a test on a single server and on a cluster, each given by the URL of one address.
func ByOneAddress(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for name, start := range map[string]func(*testing.T) *Server{
		"single server": func(t *testing.T) *Server { return Start(t) },
		"cluster":       func(t *testing.T) *Server { return StartCluster(t).Nodes[1] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t).URL())
		})
	}
}
