package harness

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/internal/subprocess"
)

var (
	// Topology is the shape of Redis that the tests run on. CI runs them on one server, and a shorter life on each shape
	// (TestEveryTopology); make topologies runs them all on all.
	Topology = "standalone"

	// What varies in Entra ID's answers varies in the tests' too, where they do not say a lifetime themselves.
	lifetimeSeed    uint64 = 1
	plainThrottling        = false
)

// Main is a package's TestMain: it runs the tests, or is a worker where another process of the tests has started it as
// one. The run fails if the canary finds a secret in what the library wrote, or if a goroutine is left.
func Main(m *testing.M) {
	if subprocess.Role() == workerRole {
		os.Exit(workerMain())
	}
	defineFlags()
	goleak.VerifyTestMain(checked{m})
}

// defineFlags is called by Main only, so that a program may use this package with flags of its own.
func defineFlags() {
	flag.StringVar(&Topology, "topology", Topology,
		"the `shape` of Redis that the tests run on: "+strings.Join(slices.Sorted(maps.Keys(Topologies)), ", "))
	flag.Uint64Var(&lifetimeSeed, "entra.lifetimes", lifetimeSeed,
		"seed of the tokens' lifetimes, entratest.Behavior.VaryLifetimes; 0: one hour each")
	flag.BoolVar(&plainThrottling, "entra.plain429", plainThrottling, "entratest.Behavior.PlainThrottling")
}

// checked ends a run with the canary's look at everything that was logged.
type checked struct{ *testing.M }

func (c checked) Run() int {
	code := c.M.Run()
	endShared()
	if code == 0 {
		code = Canary.verdict()
	}
	return code
}
