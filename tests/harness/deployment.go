package harness

import (
	"context"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// Deployment is a Redis in one of the shapes in which it is met.
type Deployment struct {
	Address
	t       testing.TB
	prefix  string                     // that the user's rights ask for; empty: any
	servers func() []*redistest.Server // that hold data
	whole   func()                     // waits until it works again after all servers have been restarted
	Admin   redis.UniversalClient      // with all rights
	shared  bool                       // with other tests, which must not find it broken
	limited bool                       // the user has a rule of docs/redis.md; see audit
	Down    bool                       // killed

	// What cannot be done to it, and why.
	cannotRefuseWrites string
}

// data are the servers that hold data. What is done to them is done to all at once.
func (d *Deployment) data() []*redistest.Server {
	d.t.Helper()
	if d.shared {
		d.t.Fatal("this breaks a Redis that other tests use: start with harness.Breakable")
	}
	return d.servers()
}

func (d *Deployment) Each(f func(s *redistest.Server)) {
	d.t.Helper()
	var wg sync.WaitGroup
	for _, s := range d.data() {
		wg.Go(func() { f(s) })
	}
	wg.Wait()
}

// Kill ends all servers without warning.
func (d *Deployment) Kill() {
	d.audit()
	d.Each((*redistest.Server).Kill)
	d.Down = true
}

// Restart starts them again, and waits until they are a whole.
func (d *Deployment) Restart() {
	d.Each((*redistest.Server).Restart)
	d.whole()
	d.Down = false
}

// audit fails the test if a limited user was refused a command. Servers forget what they refused when they end.
func (d *Deployment) audit() {
	if d.limited && !d.Down {
		NoRefusedCommands(d.t, d.servers()...)
	}
}

func (d *Deployment) Freeze() { d.Each((*redistest.Server).Freeze) }
func (d *Deployment) Thaw()   { d.Each((*redistest.Server).Thaw) }

// ReadOnly makes them refuse writes, as after a failover that clients have not seen.
func (d *Deployment) ReadOnly(t *testing.T) {
	if d.cannotRefuseWrites != "" {
		t.Skip("needs a primary that refuses writes with READONLY: ", d.cannotRefuseWrites)
	}
	d.Each((*redistest.Server).ReadOnly)
}

func (d *Deployment) Writable()             { d.Each((*redistest.Server).Writable) }
func (d *Deployment) MaxMemory(bytes int64) { d.Each(func(s *redistest.Server) { s.MaxMemory(bytes) }) }
func (d *Deployment) FillMemory()           { d.Each((*redistest.Server).FillMemory) }
func (d *Deployment) FlushScripts()         { d.Each((*redistest.Server).FlushScripts) }

// FlushAll empties the primaries, and by that their replicas.
func (d *Deployment) FlushAll() {
	d.data()
	for _, s := range d.primaries() {
		s.Do("FLUSHALL")
	}
}

// primaries are the servers that are primaries now.
func (d *Deployment) primaries() (all []*redistest.Server) {
	for _, s := range d.servers() {
		if role, err := s.Client().Do(context.Background(), "ROLE").Slice(); err == nil && role[0] == "master" {
			all = append(all, s)
		}
	}
	return all
}

// Keys are those on all primaries that match a pattern.
func (d *Deployment) Keys(ctx context.Context, pattern string) (all []string, err error) {
	err = d.everywhere(ctx, (*redis.ClusterClient).ForEachMaster, func(ctx context.Context, node *redis.Client) error {
		keys, err := node.Keys(ctx, pattern).Result()
		all = append(all, keys...)
		return err
	})
	return all, err
}

// Subscribers are those of the channels that match a pattern, at replicas too.
func (d *Deployment) Subscribers(ctx context.Context, pattern string) (sum int, err error) {
	err = d.everywhere(ctx, (*redis.ClusterClient).ForEachShard, func(ctx context.Context, node *redis.Client) error {
		channels, err := node.PubSubChannels(ctx, pattern).Result()
		if err != nil || len(channels) == 0 {
			return err
		}
		numbers, err := node.PubSubNumSub(ctx, channels...).Result()
		for _, n := range numbers {
			sum += int(n)
		}
		return err
	})
	return sum, err
}

// everywhere asks each of a cluster's nodes, one after another, or the one server.
func (d *Deployment) everywhere(ctx context.Context, nodes func(*redis.ClusterClient, context.Context, ask) error,
	f ask) error {
	c, ok := d.Admin.(*redis.ClusterClient)
	if !ok {
		return f(ctx, d.Admin.(*redis.Client))
	}
	var mu sync.Mutex
	return nodes(c, ctx, func(ctx context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		return f(ctx, node)
	})
}

type ask = func(context.Context, *redis.Client) error

// Client is one as an application makes it, closed with the test, after the Caches that are made of it.
func (w *World) Client(change ...func(*redis.UniversalOptions)) redis.UniversalClient {
	w.T.Helper()
	client, err := w.Redis.open(change...)
	if err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { _ = client.Close() })
	return client
}

// Unlimited is a change for Client: where the library's user has a rule of docs/redis.md, the client comes as one that
// may do all, as for an application's commands that the rule leaves out.
func (d *Deployment) Unlimited(o *redis.UniversalOptions) {
	if d.limited {
		o.Username, o.Password = "", ""
	}
}

func Alone(t testing.TB, s *redistest.Server, a Address) *Deployment {
	a.Addrs = []string{s.Addr()}
	return &Deployment{Address: a, t: t, servers: func() []*redistest.Server { return []*redistest.Server{s} },
		whole: func() {}, Admin: s.Client()}
}

func clustered(t testing.TB, opts ...redistest.Option) *Deployment {
	c := redistest.StartCluster(t, opts...)
	c.AddReplicas()
	return &Deployment{
		Address: Address{Addrs: c.Addrs(), Cluster: true}, t: t, servers: c.Servers, whole: c.Wait, Admin: c.Client(),
		cannotRefuseWrites: "a node of a cluster refuses REPLICAOF",
	}
}

func Replicated(t testing.TB, r *redistest.Replicated) *Deployment {
	return &Deployment{
		Address: Address{Addrs: r.Sentinels, Master: r.MasterName}, t: t, whole: func() {}, Admin: r.FailoverClient(),
		servers:            func() []*redistest.Server { return []*redistest.Server{r.Primary, r.Replica} },
		cannotRefuseWrites: "Sentinel makes a primary of it again",
	}
}
