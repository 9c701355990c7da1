package msalredis_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// The tests run on any shape of Redis: go test . -topology cluster. CI runs them on one server, and a shorter life on each
// shape (TestEveryTopology); make topologies runs them all on all.
var topology = flag.String("topology", "standalone", "the `shape` of Redis that the tests run on: "+strings.Join(slices.Sorted(maps.Keys(topologies)), ", "))

// deployment is a Redis in one of the shapes in which it is met.
type deployment struct {
	address
	t       testing.TB
	prefix  string                     // that the user's rights ask for; empty: any
	servers func() []*redistest.Server // that hold data
	whole   func()                     // waits until it works again after all servers have been restarted
	admin   redis.UniversalClient      // with all rights
	shared  bool                       // with other tests, which must not find it broken
	limited bool                       // the user has a rule of docs/redis.md; see audit
	down    bool                       // killed

	// What cannot be done to it, and why.
	cannotRefuseWrites string
}

// address is how a client reaches Redis, from this process or, as JSON, from another.
type address struct {
	Addrs                     []string
	Cluster, Replicas         bool   // Replicas: what may be read there is read there
	Master                    string // of Sentinel, whose addresses Addrs then are
	Protocol                  int
	Username, Password        string
	PasswordFile              string // instead of Password; read for each connection
	ConnMaxLifetime           time.Duration
	CAFile, CertFile, KeyFile string // PEM
	Silent                    bool   // go-redis says nothing of itself, which the rules of docs/redis.md leave out
}

// options are those that docs/redis.md tells users to set, and no more.
func (a address) options() (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{
		Addrs: a.Addrs, IsClusterMode: a.Cluster, ContextTimeoutEnabled: a.Cluster, ReadOnly: a.Replicas, RouteRandomly: a.Replicas,
		MasterName: a.Master, Protocol: a.Protocol, Username: a.Username, Password: a.Password, ConnMaxLifetime: a.ConnMaxLifetime,
		DisableIdentity: a.Silent,
	}
	if a.Silent {
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
	if a.PasswordFile != "" {
		o.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := os.ReadFile(a.PasswordFile)
			return a.Username, string(password), err
		}
	}
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, err
		}
		o.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		o.TLSConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	if a.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
		if err != nil {
			return nil, err
		}
		o.TLSConfig.Certificates = []tls.Certificate{pair}
	}
	return o, nil
}

func (a address) open(change ...func(*redis.UniversalOptions)) (redis.UniversalClient, error) {
	o, err := a.options()
	if err != nil {
		return nil, err
	}
	for _, f := range change {
		f(o)
	}
	return redis.NewUniversalClient(o), nil
}

// client is one as an application makes it, closed with the test, after the Caches that are made of it.
func (w *world) client(change ...func(*redis.UniversalOptions)) redis.UniversalClient {
	w.t.Helper()
	client, err := w.redis.open(change...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = client.Close() })
	return client
}

// topologies are the shapes in which Redis is met.
var topologies = map[string]func(t testing.TB, opts ...redistest.Option) *deployment{
	"standalone": func(t testing.TB, opts ...redistest.Option) *deployment {
		return alone(t, redistest.Start(t, opts...), address{})
	},
	"resp2": func(t testing.TB, opts ...redistest.Option) *deployment {
		return alone(t, redistest.Start(t, opts...), address{Protocol: 2})
	},
	"tls": func(t testing.TB, opts ...redistest.Option) *deployment {
		s := redistest.StartTLS(t, opts...)
		return alone(t, s.Server, address{CAFile: s.CAFile})
	},
	"client-certificates": func(t testing.TB, opts ...redistest.Option) *deployment {
		const password = "the password of redis"
		s := redistest.StartTLS(t, append(opts, redistest.ClientCertificate(), redistest.Password(password))...)
		return alone(t, s.Server, address{Password: password, CAFile: s.CAFile, CertFile: s.ClientCertFile, KeyFile: s.ClientKeyFile})
	},
	// The rule of docs/redis.md, with its prefix; nothing may be refused.
	"acl": func(t testing.TB, opts ...redistest.Option) *deployment {
		s := redistest.Start(t, append(opts, user(aclRule(t, "acl")))...)
		d := alone(t, s, address{Username: limited, Password: limitedPassword, Silent: true})
		d.prefix, d.limited = "msal", true
		t.Cleanup(d.audit)
		return d
	},
	"acl-cluster": func(t testing.TB, opts ...redistest.Option) *deployment {
		d := clustered(t, append(opts, user(aclRule(t, "acl")+" "+aclRule(t, "acl-cluster")))...)
		d.Username, d.Password, d.Silent, d.prefix, d.limited = limited, limitedPassword, true, "msal", true
		t.Cleanup(d.audit)
		return d
	},
	// With clients that send to a replica whatever may be sent there: the library reads by scripts, which may not.
	"cluster": func(t testing.TB, opts ...redistest.Option) *deployment {
		d := clustered(t, opts...)
		d.Replicas = true
		return d
	},
	"sentinel": func(t testing.TB, opts ...redistest.Option) *deployment {
		return replicated(t, redistest.StartReplicated(t, opts...))
	},
	"restricted": func(t testing.TB, opts ...redistest.Option) *deployment {
		s := redistest.Start(t, append(opts, redistest.Refuse(refused...))...)
		for _, command := range refused {
			if err := s.Client().Do(context.Background(), command, "x").Err(); err == nil || !strings.Contains(err.Error(), "unknown command") {
				t.Fatalf("%s: %v", command, err)
			}
		}
		return alone(t, s, address{})
	},
	// Connections live for a moment, and each new one needs the password of its time.
	"rotating-password": func(t testing.TB, opts ...redistest.Option) *deployment {
		users := filepath.Join(t.TempDir(), "users.acl")
		if err := os.WriteFile(users, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s := redistest.Start(t, append(opts, redistest.Args("--aclfile", users))...)
		return alone(t, s, address{Username: limited, PasswordFile: rotate(t, s), ConnMaxLifetime: 50 * time.Millisecond})
	},
}

// refused are commands that managed services refuse. CLIENT is more than CLIENT SETINFO, which cannot be refused alone.
var refused = []string{"CONFIG", "SELECT", "SCRIPT", "FLUSHALL", "FLUSHDB", "CLIENT", "SCAN", "DEBUG", "MULTI", "WATCH"}

func alone(t testing.TB, s *redistest.Server, a address) *deployment {
	a.Addrs = []string{s.Addr()}
	return &deployment{address: a, t: t, servers: func() []*redistest.Server { return []*redistest.Server{s} }, whole: func() {}, admin: s.Client()}
}

func clustered(t testing.TB, opts ...redistest.Option) *deployment {
	c := redistest.StartCluster(t, opts...)
	c.AddReplicas()
	return &deployment{
		address: address{Addrs: c.Addrs(), Cluster: true}, t: t, servers: c.Servers, whole: c.Wait, admin: c.Client(),
		cannotRefuseWrites: "a node of a cluster refuses REPLICAOF",
	}
}

func replicated(t testing.TB, r *redistest.Replicated) *deployment {
	return &deployment{
		address: address{Addrs: r.Sentinels, Master: r.MasterName}, t: t, whole: func() {}, admin: r.FailoverClient(),
		servers:            func() []*redistest.Server { return []*redistest.Server{r.Primary, r.Replica} },
		cannotRefuseWrites: "Sentinel makes a primary of it again",
	}
}

// user is the limited user under a rule of docs/redis.md, known to the server whenever it starts.
func user(rule string) redistest.Option {
	hash := sha256.Sum256([]byte(limitedPassword))
	return redistest.Args(append([]string{"--user", limited, "on", "#" + hex.EncodeToString(hash[:])}, strings.Fields(rule)...)...)
}

// rotate changes the limited user's password again and again until the test ends, also over restarts; the two before still
// do, as in any rotation that nobody notices, and none older. It returns a file that holds the one that is right.
func rotate(t testing.TB, s *redistest.Server) (file string) {
	file = filepath.Join(t.TempDir(), "password")
	admin := s.Client()
	var valid []string
	next := func(ctx context.Context) error {
		now := append(slices.Clone(valid), rand.Text())
		now = now[max(0, len(now)-3):]
		rule := []any{"ACL", "SETUSER", limited, "on", "resetpass", "allkeys", "allchannels", "+@all"}
		for _, password := range now {
			rule = append(rule, ">"+password)
		}
		if err := admin.Do(ctx, rule...).Err(); err != nil {
			return err
		}
		if err := admin.Do(ctx, "ACL", "SAVE").Err(); err != nil {
			return err
		}
		if err := os.WriteFile(file+".new", []byte(now[len(now)-1]), 0o600); err != nil {
			return err
		}
		valid = now
		return os.Rename(file+".new", file)
	}
	ctx, stop := context.WithCancel(context.Background())
	if err := next(ctx); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(rotation)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = next(ctx) // the test may have killed the server
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-stopped
	})
	return file
}

// rotation is the time between two changes of a password.
const rotation = 100 * time.Millisecond

// begin is a deployment for one test: breakable, or shared with others where starting it takes seconds.
func begin(t *testing.T, breakable bool, opts ...redistest.Option) *deployment {
	t.Helper()
	start := topologies[*topology]
	if start == nil {
		t.Fatalf("-topology %q: there is none of this name; see go test . -args -help", *topology)
	}
	if breakable || !slices.Contains([]string{"cluster", "acl-cluster", "sentinel"}, *topology) {
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
	d   *deployment
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

// data are the servers that hold data. What is done to them is done to all at once.
func (d *deployment) data() []*redistest.Server {
	d.t.Helper()
	if d.shared {
		d.t.Fatal("this breaks a Redis that other tests use: start with breakable")
	}
	return d.servers()
}

func (d *deployment) each(f func(s *redistest.Server)) {
	d.t.Helper()
	var wg sync.WaitGroup
	for _, s := range d.data() {
		wg.Go(func() { f(s) })
	}
	wg.Wait()
}

// Kill ends all servers without warning.
func (d *deployment) Kill() {
	d.audit()
	d.each((*redistest.Server).Kill)
	d.down = true
}

// Restart starts them again, and waits until they are a whole.
func (d *deployment) Restart() {
	d.each((*redistest.Server).Restart)
	d.whole()
	d.down = false
}

// audit fails the test if a limited user was refused a command. Servers forget what they refused when they end.
func (d *deployment) audit() {
	if d.limited && !d.down {
		noRefusedCommands(d.t, d.servers()...)
	}
}

func (d *deployment) Freeze() { d.each((*redistest.Server).Freeze) }
func (d *deployment) Thaw()   { d.each((*redistest.Server).Thaw) }

// ReadOnly makes them refuse writes, as after a failover that clients have not seen.
func (d *deployment) ReadOnly(t *testing.T) {
	if d.cannotRefuseWrites != "" {
		t.Skip("needs a primary that refuses writes with READONLY: ", d.cannotRefuseWrites)
	}
	d.each((*redistest.Server).ReadOnly)
}

func (d *deployment) Writable()             { d.each((*redistest.Server).Writable) }
func (d *deployment) MaxMemory(bytes int64) { d.each(func(s *redistest.Server) { s.MaxMemory(bytes) }) }
func (d *deployment) FillMemory()           { d.each((*redistest.Server).FillMemory) }
func (d *deployment) FlushScripts()         { d.each((*redistest.Server).FlushScripts) }

// FlushAll empties the primaries, and by that their replicas.
func (d *deployment) FlushAll() {
	d.data()
	for _, s := range d.primaries() {
		s.Do("FLUSHALL")
	}
}

// primaries are the servers that are primaries now.
func (d *deployment) primaries() (all []*redistest.Server) {
	for _, s := range d.servers() {
		if role, err := s.Client().Do(context.Background(), "ROLE").Slice(); err == nil && role[0] == "master" {
			all = append(all, s)
		}
	}
	return all
}

// keys are those on all primaries that match a pattern.
func (d *deployment) keys(ctx context.Context, pattern string) (all []string, err error) {
	err = d.everywhere(ctx, (*redis.ClusterClient).ForEachMaster, func(ctx context.Context, node *redis.Client) error {
		keys, err := node.Keys(ctx, pattern).Result()
		all = append(all, keys...)
		return err
	})
	return all, err
}

// subscribers are those of the channels that match a pattern, at replicas too.
func (d *deployment) subscribers(ctx context.Context, pattern string) (sum int, err error) {
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

type ask = func(context.Context, *redis.Client) error

// everywhere asks each of a cluster's nodes, one after another, or the one server.
func (d *deployment) everywhere(ctx context.Context, nodes func(*redis.ClusterClient, context.Context, ask) error, f ask) error {
	c, ok := d.admin.(*redis.ClusterClient)
	if !ok {
		return f(ctx, d.admin.(*redis.Client))
	}
	var mu sync.Mutex
	return nodes(c, ctx, func(ctx context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		return f(ctx, node)
	})
}
