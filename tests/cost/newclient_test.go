package cost_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A new client in a process that has its token asks Redis nothing and Entra ID nothing, with the accessor and by the
// gate alone, whether the process has asked for the token itself or found it.
func TestNewClientAsksRedisNothing(t *testing.T) {
	t.Parallel()
	for _, gateAlone := range []bool{false, true} {
		t.Run(fmt.Sprintf("gate alone: %v", gateAlone), func(t *testing.T) {
			t.Parallel()
			w := counted(t)
			long := func(o *msalredis.Options) { o.LocalTTL = time.Hour }
			for _, who := range []string{"who asked for it", "who found it"} {
				i := w.Instance(long)
				call := func() map[string]int64 {
					t.Helper()
					before := stats(w, "commandstats")
					app := i.App()
					if gateAlone {
						app = i.GateApp()
					}
					harness.Must(t)(app.AcquireTokenByCredential(context.Background(), []string{harness.GraphScope}))
					return ran(w, before)
				}
				call()
				w.Settled()
				w.Listening(t, 1)
				harness.Eventually(t, who+" asks Redis nothing", func() bool { return len(call()) == 0 })
				for n := range 5 {
					if cost := call(); len(cost) > 0 {
						t.Errorf("%s, client %d: %v", who, n, cost)
					}
				}
				i.Close()
			}
			w.Count(t, 1, "all clients")
		})
	}
}

// The first client with the accessor, of a token that the process has by the gate alone, costs one look at the record
// and one write to it: MSAL looks again before it writes, for which nothing is asked.
func TestFirstClientOfAKnownTokenLooksOnceAndWritesOnce(t *testing.T) {
	t.Parallel()
	w := counted(t)
	ctx := context.Background()
	i := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
	get := func(app confidential.Client) map[string]int64 {
		t.Helper()
		before := stats(w, "commandstats")
		harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
		return ran(w, before)
	}
	another := harness.NewApp(t, w.Entra.Authority(harness.TenantName(1)), i.Tokens, i.HTTP)
	get(another) // Redis has the scripts
	get(i.GateApp())
	w.Settled()
	w.Listening(t, 1)
	harness.Eventually(t, "the gate alone asks Redis nothing", func() bool { return len(get(i.GateApp())) == 0 })
	<-time.After(1100 * time.Millisecond) // longer than a write is expected
	if n := get(i.App())["evalsha"]; n != 2 {
		t.Errorf("%d scripts, want a look and a write", n)
	}
}
