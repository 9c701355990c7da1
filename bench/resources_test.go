package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
)

func resourcesAt(n int, what string) string {
	return fmt.Sprintf("%d resources in one tenant, %s", n, what)
}

const (
	ofNew     = "a new one"
	ofHit     = "a known one"
	ofRefresh = "a refresh where all are due"
	ofCold    = "each in a second process"
)

type getClient func(key string) (confidential.Client, error)

// way is how a broker keeps the tokens of many resources.
type way struct {
	contender
	how     string
	gated   bool // by the gate alone, without the accessor
	clients func(n int, fresh func() (confidential.Client, error)) (getClient, error)
}

var ways = []way{
	{nothing, ", one client", false, oneClient},
	{onlyMarshals, ", one client", false, oneClient},
	{naively, ", one client", false, oneClient},
	{library, ", one client", false, oneClient},
	{library, ", gate alone, 256 shards", true, func(_ int, fresh func() (confidential.Client, error)) (getClient, error) {
		shards, err := clientpool.NewShards(256, fresh)
		if err != nil {
			return nil, err
		}
		return shards.Get, nil
	}},
	{library, gateEach, true, func(n int, fresh func() (confidential.Client, error)) (getClient, error) {
		pool, err := clientpool.New(n, func(string) (confidential.Client, error) { return fresh() })
		if err != nil {
			return nil, err
		}
		return pool.Get, nil
	}},
}

const gateEach = ", gate alone, a client each"

func oneClient(_ int, fresh func() (confidential.Client, error)) (getClient, error) {
	app, err := fresh()
	return func(string) (confidential.Client, error) { return app, err }, err
}

// BenchmarkResources is a broker for many resources of one tenant, as of Dataverse's environments. MSAL keeps all of an
// app's tokens in a tenant in one partition, whatever the client: it searches, marshals and reads all of it.
func BenchmarkResources(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		for _, how := range ways {
			b.Run(fmt.Sprintf("%d/%s%s", n, how.name, how.how), func(b *testing.B) {
				w := newWorld(b)
				known := w.newResources(b, how, n)
				w.knownResources(b, how, n, known)
				if how.name == naively.name || how.name == library.name {
					w.coldResources(b, how, n)
				}
				w.dueResources(b, how, n)
				for b.Loop() { // it has taken as long as it takes, whatever -benchtime says
				}
			})
		}
	}
}

// broker asks for the tokens of one tenant's resources in one process.
type broker struct {
	entra *instant
	get   getClient
}

func (w *world) broker(b *testing.B, how way, n int, seeds ...seed) *broker {
	k := &broker{entra: &instant{base: w.entra.Transport()}}
	p := w.knowing(b, how.contender, k.entra, seeds)
	if how.gated {
		p.accessor = nil
	}
	var err error
	if k.get, err = how.clients(n, func() (confidential.Client, error) {
		return p.newApp(w.entra.Authority(tenantName(1)))
	}); err != nil {
		b.Fatal(err)
	}
	return k
}

func (k *broker) call(i int) error {
	app, err := k.get(resource(i))
	if err != nil {
		return err
	}
	_, err = app.AcquireTokenByCredential(context.Background(), scopes(resource(i)))
	return err
}

// calls are timed calls for resources, until they have taken some seconds.
func (k *broker) calls(b *testing.B, n int, which func(i int) int) (took []float64) {
	const enough = 3 * time.Second
	for begun := time.Now(); len(took) < n && time.Since(begun) < enough; {
		took = append(took, timedCalls(b, 1, func() error { return k.call(which(len(took))) })...)
	}
	return took
}

// lastOnes is of how many tokens a new one's time is the mean: those with which all are there.
const lastOnes = 10

// newResources is a process that has all. Where each token costs by the others that are there, 10,000 of them would
// take half an hour and more, so all but the last come from a document.
func (w *world) newResources(b *testing.B, how way, n int) *broker {
	from, seeds := 0, []seed(nil)
	if !how.gated && n > 100 {
		from = n - lastOnes
		seeds = []seed{w.appSeed(b).tenant(1, from)}
	}
	var k *broker
	var took []float64
	begun := time.Now()
	memory := grown(func() any {
		k = w.broker(b, how, n, seeds...)
		if from > 0 { // the endpoints are known, and the tenant's tokens
			timedCalls(b, 1, func() error { return k.call(0) })
		}
		begun = time.Now()
		i := from - 1
		took = timedCalls(b, n-from, func() error { i++; return k.call(i) })
		return k
	})
	more := []any{"MB", memory / 1e6}
	if from == 0 {
		more = append(more, "s for all", mean(took)*float64(n)/1e9)
	}
	b.Logf("%s%s: %d new ones in %v, %.0f MB", how.name, how.how, n-from, time.Since(begun), memory/1e6)
	w.shown(b, how, n, ofNew, mean(took[len(took)-lastOnes:]), more...)
	return k
}

func (w *world) knownResources(b *testing.B, how way, n int, k *broker) {
	took := k.calls(b, 2_000, func(int) int { return rand.IntN(n) })
	w.shown(b, how, n, ofHit, median(took), "us on average", mean(took)/1e3)
}

// coldResources is a second process. All would take what the first takes, and what each further one takes.
func (w *world) coldResources(b *testing.B, how way, n int) {
	k := w.broker(b, how, n)
	first := timedCalls(b, 1, func() error { return k.call(0) })[0]
	further := mean(k.calls(b, min(n-1, 500), func(i int) int { return i + 1 }))
	all := first + float64(n-1)*further
	w.shown(b, how, n, ofCold, all/float64(n), "ms for the first", first/1e6, "s for all", all/1e9,
		"token requests", float64(k.entra.n.Load()))
}

// dueResources is what a refresh costs, from the call that finds its token due until the fleet has another.
func (w *world) dueResources(b *testing.B, how way, n int) {
	w = newWorld(b)
	w.entra.SetBehavior(func(e *entratest.Behavior) { e.RefreshIn = time.Second })
	var k *broker
	refreshes := 5
	if how.gated {
		refreshes = 100
		k = w.broker(b, how, n)
		i := -1
		timedCalls(b, n, func() error { i++; return k.call(i) })
	} else {
		k = w.broker(b, how, n, w.appSeed(b).tenant(1, n))
	}
	time.Sleep(1100 * time.Millisecond)
	if !how.gated { // the endpoints are known, and the tenant's tokens
		timedCalls(b, 1, func() error { return k.call(n - 1) })
	}
	sent := k.entra.n.Load()
	begun := time.Now()
	for i := range refreshes {
		if err := k.call(i); err != nil {
			b.Fatal(err)
		}
	}
	for k.entra.n.Load() < sent+int64(refreshes) || w.leased(b) {
		if time.Since(begun) > time.Minute {
			b.Fatalf("%d of %d were refreshed", k.entra.n.Load()-sent, refreshes)
		}
		time.Sleep(time.Millisecond)
	}
	w.shown(b, how, n, ofRefresh, float64(time.Since(begun))/float64(refreshes))
}

// leased tells whether a process is still about to keep an answer.
func (w *world) leased(b *testing.B) bool {
	locks, err := w.rdb.Keys(context.Background(), "*:lock").Result()
	if err != nil {
		b.Fatal(err)
	}
	return len(locks) > 0
}

func (w *world) shown(b *testing.B, how way, n int, what string, ns float64, more ...any) {
	name := how.name + how.how
	results.add(resourcesAt(n, what), name, 1, ns, more...)
	b.Logf("%s, %s: %s %v", resourcesAt(n, what), name, duration(ns), more)
}
