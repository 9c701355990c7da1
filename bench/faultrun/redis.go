package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

const (
	topologyStandalone = "standalone"
	topologySentinel   = "sentinel"
	topologyCluster    = "cluster"
)

// store is the Redis of a run: its servers, a proxy before each, and a client of the administrator that goes past the
// proxies.
type store struct {
	topology   string
	servers    []*redistest.Server // those that hold data; standalone: one
	replicated *redistest.Replicated
	cluster    *redistest.Cluster
	proxies    []*toxiproxy.Proxy
	cuts       struct { // in force: of the network, and of a Redis that ends
		sync.Mutex
		n int
	}
	endpoint endpoint
	admin    redis.UniversalClient
	harness  *harness
}

// harness lets helpers made for tests serve a program.
type harness struct {
	testing.TB // nil: what is not overridden is not called
	mu         sync.Mutex
	cleanups   []func()
}

func (h *harness) Helper() {}
func (h *harness) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleanups = append(h.cleanups, f)
}
func (h *harness) Fatal(args ...any)            { panic(trouble(fmt.Sprint(args...))) }
func (h *harness) Fatalf(f string, args ...any) { panic(trouble(fmt.Sprintf(f, args...))) }
func (h *harness) TempDir() string {
	dir, err := os.MkdirTemp("", "faultrun-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (h *harness) close() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
}

// trouble is what a helper panics with where it would end a test.
type trouble string

// caught turns trouble into an error.
func caught(err *error) {
	switch r := recover().(type) {
	case nil:
	case trouble:
		*err = fmt.Errorf("%s", r)
	case error:
		if strings.HasPrefix(r.Error(), "redistest:") {
			*err = r
			return
		}
		panic(r)
	default:
		panic(r)
	}
}

func openStore(topology string) (s *store, err error) {
	s = &store{topology: topology, harness: &harness{}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	defer caught(&err)
	e := endpoint{Topology: topology, Through: map[string]string{}}
	switch topology {
	case topologyStandalone:
		server := redistest.Start(s.harness, redistest.Persistent())
		s.servers = []*redistest.Server{server}
		e.Addrs = []string{server.Addr()}
	case topologySentinel:
		s.replicated = redistest.StartReplicated(s.harness)
		// On a busy machine half a second of silence, as redistest has it, is no failure.
		s.replicated.Sentinel.Do("SENTINEL", "SET", s.replicated.MasterName, "down-after-milliseconds", 2500)
		s.servers = []*redistest.Server{s.replicated.Primary, s.replicated.Replica}
		e.Addrs, e.Master = s.replicated.Sentinels, s.replicated.MasterName
	case topologyCluster:
		s.cluster = redistest.StartCluster(s.harness)
		s.cluster.AddReplicas()
		s.servers = append(slices.Clone(s.cluster.Nodes), s.cluster.Replicas...)
		e.Addrs = s.cluster.Addrs()
	default:
		return nil, fmt.Errorf("there is no topology %q", topology)
	}
	s.admin = endpoint{Topology: e.Topology, Addrs: e.Addrs, Master: e.Master}.client(nil)
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's toxics log past the logger that they are given
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.New(io.Discard))
	for _, server := range s.servers {
		p := toxiproxy.NewProxy(api, server.Addr(), "127.0.0.1:0", server.Addr())
		if err := p.Start(); err != nil {
			return nil, err
		}
		s.proxies = append(s.proxies, p)
		e.Through[server.Addr()] = p.Listen
	}
	s.endpoint = e
	return s, nil
}

// version is that of the servers.
func (s *store) version() string {
	info := fmt.Sprint(s.servers[0].Do("INFO", "server"))
	for line := range strings.Lines(info) {
		if version, ok := strings.CutPrefix(line, "redis_version:"); ok {
			return strings.TrimSpace(version)
		}
	}
	return "?"
}

func (s *store) close() {
	for _, p := range s.proxies {
		p.Stop()
	}
	if s.admin != nil {
		_ = s.admin.Close()
	}
	s.harness.close()
}

// toxic makes every proxy misbehave; remove ends it.
func (s *store) toxic(text string) (remove func(), err error) {
	for _, p := range s.proxies {
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
			return nil, err
		}
	}
	return func() {
		for _, p := range s.proxies {
			p.Toxics.ResetToxics(context.Background())
		}
	}, nil
}

// cut closes every connection and refuses new ones until mended, as all others that are in force have to be.
func (s *store) cut() (mend func() error) {
	s.cuts.Lock()
	defer s.cuts.Unlock()
	s.cuts.n++
	for _, p := range s.proxies {
		p.Stop()
	}
	return func() error {
		s.cuts.Lock()
		defer s.cuts.Unlock()
		if s.cuts.n--; s.cuts.n > 0 {
			return nil
		}
		for _, p := range s.proxies {
			if err := p.Start(); err != nil {
				return err
			}
		}
		return nil
	}
}

// keys are all keys of the run that end in one of the given ways.
func (s *store) keys(ctx context.Context, prefix string, ends ...string) ([]string, error) {
	var out []string
	scan := func(ctx context.Context, c redis.UniversalClient) error {
		it := c.Scan(ctx, 0, prefix+":*", 1000).Iterator()
		for it.Next(ctx) {
			for _, end := range ends {
				if strings.HasSuffix(it.Val(), end) {
					out = append(out, it.Val())
				}
			}
		}
		return it.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if c, ok := s.admin.(*redis.ClusterClient); ok {
		var mu sync.Mutex
		err := c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			return scan(ctx, node)
		})
		return out, err
	}
	return out, scan(ctx, s.admin)
}
