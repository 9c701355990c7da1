package bench

import (
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// program is a contender as a process: this one, or a command.
type program struct {
	name    string
	command []string
}

const msalNode = "msal-node, DistributedCachePlugin"

// node is the peer in bench/peers/msalnode, its packages installed; empty where Node is missing.
var node = sync.OnceValues(func() (command []string, why string) {
	for _, need := range []string{"node", "npm"} {
		if _, err := exec.LookPath(need); err != nil {
			return nil, need + " is not installed"
		}
	}
	dir := filepath.Join("peers", "msalnode")
	install := exec.Command("npm", "ci", "--silent", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		return nil, "npm ci: " + err.Error() + " " + string(out)
	}
	return []string{"node", filepath.Join(dir, "worker.mjs")}, ""
})

// peers are the contenders in other languages that can run here.
func peers(b *testing.B) []program {
	command, why := node()
	if why != "" {
		b.Logf("%s is not compared: %s", msalNode, why)
		results.note(msalNode + " is not compared: " + why)
		return nil
	}
	return []program{{msalNode, command}}
}

// BenchmarkPeer is a hit, and the first call of a new client in a process that has the token, beside MSAL for Node.
func BenchmarkPeer(b *testing.B) {
	w := newWorld(b)
	for _, kind := range []string{"hits", "cold"} {
		workload := map[string]string{"hits": "hit, whole call in another process",
			"cold": "new client in a running process, whole first call"}[kind]
		for _, c := range append([]program{{name: naively.name}, {name: library.name}}, peers(b)...) {
			b.Run(kind+"/"+c.name, func(b *testing.B) {
				workers := w.spawn(b, 1, c.name, tenantName(0), c.command...)
				tell(b, workers, order{Op: "hits", Tenant: tenantName(0), N: 1})
				b.ResetTimer()
				sent := w.entra.Count()
				out := tell(b, workers, order{Op: kind, Tenant: tenantName(0), N: b.N})
				ns := float64(out[0].Took) / float64(b.N)
				b.ReportMetric(ns, "call-ns/op")
				results.add(workload, c.name, b.N, ns, "token requests", float64(w.entra.Count()-sent))
			})
		}
	}
}
