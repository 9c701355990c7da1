package topologies_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A client that is not for the cluster it was given says so once, at Error, with the cure, and callers have their
// tokens. One that connect made of a single address shares them.
func TestClientThatIsNotForAClusterSaysSo(t *testing.T) {
	harness.OnlyStandalone(t)
	c := redistest.StartCluster(t)
	const tenants = 16 // whose partitions are spread over three nodes
	for name, test := range map[string]struct {
		client func() (redis.UniversalClient, error)
		says   []string
	}{
		"a plain client": {func() (redis.UniversalClient, error) { return c.Nodes[0].Client(), nil },
			[]string{"Redis is a cluster", "connect.Open", "redis.NewClusterClient"}},
		"a plain client with a database": {func() (redis.UniversalClient, error) {
			o := c.Nodes[0].Options()
			o.DB = 2
			return redis.NewClient(o), nil
		}, []string{"Redis is a cluster", "database other than 0"}},
		"connect.Open with a database": {func() (redis.UniversalClient, error) {
			return connect.Open("redis://"+c.Addrs()[1]+"/2", nil)
		}, []string{"Redis is a cluster", "database other than 0"}},
		"connect.Open": {func() (redis.UniversalClient, error) { return connect.Open("redis://"+c.Addrs()[1], nil) }, nil},
		"connect.Dial": {func() (redis.UniversalClient, error) {
			return connect.Dial(t.Context(), "redis://"+c.Addrs()[2], nil)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.WorldOn(t, nil)
			var told []string
			for range 2 {
				rdb, err := test.client()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { rdb.Close() })
				log := &harness.Journal{}
				o := harness.Options(w.Prefix)
				o.Logger = slog.New(slog.NewTextHandler(log, nil))
				instance := w.InstanceOn(rdb, w.Sealer(w.Keys), o)
				for i := range tenants {
					app := harness.NewApp(t, w.Entra.Authority(fmt.Sprintf("tenant%d.example", i)), instance.Tokens, instance.HTTP)
					if _, err := app.AcquireTokenByCredential(t.Context(), []string{harness.GraphScope}); err != nil {
						t.Fatal(err)
					}
				}
				for line := range strings.Lines(log.String()) {
					if strings.Contains(line, "level=ERROR") {
						told = append(told, line)
					}
				}
			}
			if test.says == nil {
				if len(told) > 0 || w.Entra.Count() != tenants {
					t.Errorf("%d token requests for %d tokens; the log says %q", w.Entra.Count(), tenants, told)
				}
				return
			}
			if len(told) != 2 {
				t.Fatalf("two instances say it in %d lines: %q", len(told), told)
			}
			for _, part := range test.says {
				if !strings.Contains(told[0], part) {
					t.Errorf("the log does not say %s: %s", part, told[0])
				}
			}
		})
	}
}
