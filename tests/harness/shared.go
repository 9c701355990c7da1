package harness

import (
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// begin is a deployment for one test: breakable, or shared with others where starting it takes seconds.
func begin(t *testing.T, breakable bool, opts ...redistest.Option) *Deployment {
	t.Helper()
	start := Topologies[Topology]
	if start == nil {
		t.Fatalf("-topology %q: there is none of this name; go test . -args -help lists them", Topology)
	}
	if breakable || !slices.Contains([]string{"cluster", "acl-cluster", "sentinel"}, Topology) {
		return start(t, opts...)
	}
	sharing.Lock()
	defer sharing.Unlock()
	if sharing.d == nil {
		sharing.d = start(lasting{t})
		sharing.d.shared = true
	}
	return sharing.d
}

var sharing struct {
	sync.Mutex
	d   *Deployment
	end []func()
}

// lasting is a test whose Redis outlives it: what it starts ends with the run.
type lasting struct{ testing.TB }

func (lasting) Cleanup(f func()) { sharing.end = append(sharing.end, f) }

func (l lasting) TempDir() string {
	dir, err := os.MkdirTemp("", "msalredis-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func endShared() {
	for _, f := range slices.Backward(sharing.end) {
		f()
	}
}
