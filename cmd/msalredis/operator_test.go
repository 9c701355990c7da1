package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func TestOnACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	f := newFleet(t)
	f.url = "redis://" + c.Addrs()[0]
	f.client = func() redis.UniversalClient { return c.Client() }
	looksAfter(f)
	doctorsCluster(t, c)
}

// looksAfter uses every command but doctor on a cluster, whose keys lie on several nodes.
func looksAfter(f *fleet) {
	f.t.Helper()
	w := f.watch(nil)
	scopes := []string{graph, dataverse, "https://api.businesscentral.dynamics.com/.default",
		"https://contoso.sharepoint.com/.default", "https://vault.azure.net/.default"}
	i := f.instance()
	for _, scope := range scopes {
		i.appToken(scope)
		w.see(eventRefreshed, func(e event) bool { return slices.Contains(e.Scopes, scope) })
	}
	i.signIn()
	if r := w.end(); r.code != exitDone {
		f.t.Errorf("watch: exit code %d: %s", r.code, r.report)
	}
	if got := kinds(f.listed()); got != "app"+strings.Repeat(" app-answer", len(scopes))+" user" {
		f.t.Errorf("list: %s", got)
	}
	f.keys = newKey(f.t, "2026b") + "," + f.keys
	f.must("reseal")
	for _, it := range f.listed() {
		if it.SealedWith["2026a"] != 0 {
			f.t.Errorf("reseal left %+v", it)
		}
	}
	f.must("show", user.HomeAccountID())
	f.must("purge", "--tenant", tenant, "--yes")
	if got := kinds(f.listed()); got != "" {
		f.t.Errorf("purge left %s", got)
	}
}

func doctorsCluster(t *testing.T, c *redistest.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		n.AddUser("tokens", "a-pass-word", rule(t, "acl", "msal")+" "+rule(t, "acl-cluster", "msal"))
		n.AddUser("less", "a-pass-word", rule(t, "acl", "msal")+" "+rule(t, "acl-cluster", "msal")+" -hset")
	}
	checks := examined(t, exitDone, nil, "redis://"+c.Addrs()[0])
	expect(t, checks, "server", statusOK, "cluster with 3 primaries")
	expect(t, checks, "server", statusOK, "redis.NewClient")
	plain := &doctor{session: &session{client: c.Nodes[0].Client()}}
	plain.server(t.Context())
	expect(t, map[string]check{"server": plain.checks[0]}, "server", statusFail, "a node of a cluster", "connect.Open")
	expect(t, checks, "slots", statusWarn, "16384 of 16384", "no replica")
	for _, name := range []string{"permissions", "scripts", "eviction", "persistence"} {
		expect(t, checks, name, statusOK)
	}
	expect(t, examined(t, exitDone, nil, "redis://tokens:a-pass-word@"+strings.Join(c.Addrs(), ",")),
		"permissions", statusOK)
	expect(t, examined(t, exitFinding, nil, "redis://less:a-pass-word@"+strings.Join(c.Addrs(), ",")), "permissions",
		statusFail, "missing: +hset")
	for _, n := range c.Nodes {
		if left := n.Client().Keys(t.Context(), "msal:*").Val(); len(left) > 0 {
			t.Errorf("doctor left %v", left)
		}
	}
	// A hole in the slots. Everything else may fail too.
	c.Nodes[2].Do("CONFIG", "SET", "cluster-require-full-coverage", "no")
	c.Nodes[0].Do("CONFIG", "SET", "cluster-require-full-coverage", "no")
	c.Nodes[1].Do("CONFIG", "SET", "cluster-require-full-coverage", "no")
	for _, n := range c.Nodes {
		n.Do("CLUSTER", "DELSLOTS", "0")
	}
	expect(t, examined(t, exitFinding, nil, "redis://"+c.Addrs()[0]), "slots", statusFail, "16383 of 16384")
}

// What docs/operations.md gives the person on call is enough for every command, and nothing is refused.
func TestOperatorRuleIsEnough(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.fill()
	f.redis.AddUser("oncall", "a-pass-word", rule(t, "acl", f.prefix)+" "+rule(t, "acl-operator", f.prefix))
	f.redis.Do("ACL", "LOG", "RESET")
	f.url = f.as("oncall", "a-pass-word")
	f.must("doctor")
	f.listed()
	f.must("show", user.HomeAccountID())
	f.keys = newKey(t, "2026b") + "," + f.keys
	f.must("reseal")
	w := f.watch(nil)
	i := f.instance()
	i.appToken("https://vault.azure.net/.default")
	w.see(eventRefreshed, func(event) bool { return true })
	f.must("purge", "--tenant", tenant, "--yes")
	w.see(eventRemoved, func(event) bool { return true })
	w.end()
	for _, e := range f.redis.Client().ACLLog(t.Context(), 100).Val() {
		t.Errorf("%q was refused (%s)", e.Object, e.Reason)
	}
}
