package connect_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

func open(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := connect.Open(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// both are the functions of this package.
var both = map[string]func(t *testing.T, url string) redis.UniversalClient{
	"Open": open,
	"Dial": func(t *testing.T, url string) redis.UniversalClient { t.Helper(); return dial(t, url, nil) },
}

// hears tells of a message through a client.
func hears(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	channel := redistest.Prefix(t)
	sub := client.Subscribe(t.Context(), channel)
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Publish(t.Context(), channel, "news").Err(); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.ReceiveMessage(t.Context()); err != nil || m.Payload != "news" {
		t.Errorf("%v, %v", m, err)
	}
}

// door is an address that leads to one server or another, or nowhere.
type door struct {
	t    *testing.T
	addr string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	ended    sync.WaitGroup
}

func newDoor(t *testing.T) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, addr: l.Addr().String()}
	l.Close()
	t.Cleanup(d.shut)
	return d
}

func (d *door) leadTo(addr string) {
	d.t.Helper()
	d.shut()
	l, err := net.Listen("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.listener = l
	d.ended.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				in.Close()
				continue
			}
			d.mu.Lock()
			d.conns = append(d.conns, in, out)
			d.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				d.ended.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
				})
			}
		}
	})
}

func (d *door) shut() {
	if d.listener == nil {
		return
	}
	d.listener.Close()
	d.mu.Lock()
	for _, c := range d.conns {
		c.Close()
	}
	d.conns = nil
	d.mu.Unlock()
	d.ended.Wait()
	d.listener = nil
}

func TestOneAddressOfACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, socket)
	const idleAtMost = 4 * time.Minute // as Azure's load balancers have it
	for i, n := range c.Nodes {
		n.AddUser("uninformed", "a-password", "~* &* +@all -cluster|slots -command")
		for name, client := range both {
			t.Run(fmt.Sprint(name, " node ", i+1), func(t *testing.T) {
				client := client(t, "redis://"+n.Addr())
				works(t, client)
				hears(t, client)
				o := client.(*redis.ClusterClient).Options()
				if !o.ContextTimeoutEnabled || !o.DisableIdentity || o.PoolSize < 20 || o.ConnMaxIdleTime >= idleAtMost {
					t.Errorf("options %+v", o)
				}
			})
		}
	}
	first := c.Nodes[0].Addr()
	for name, url := range map[string]string{
		"its database is named":      "redis://" + first + "/0",
		"and by a parameter":         "redis://" + first + "?db=0",
		"parameters of other names":  "redis://" + first + "?idle_timeout=1m&max_conn_age=1h",
		"it comes by a socket":       "unix://" + socketOf(c.Nodes[0]),
		"connections are kept ready": "redis://" + first + "?min_idle_conns=2",
	} {
		for door, client := range both {
			t.Run(door+" "+name, func(t *testing.T) { works(t, client(t, url)) })
		}
	}
	t.Run("Open away at start", func(t *testing.T) {
		d := newDoor(t)
		client := open(t, "redis://"+d.addr)
		if err := client.Set(t.Context(), "k", "v", 0).Err(); err == nil {
			t.Fatal("nobody is there, and it works")
		}
		d.leadTo(first)
		works(t, client)
	})
	t.Run("Open in the place of a single server", func(t *testing.T) {
		d := newDoor(t)
		d.leadTo(redistest.Start(t).Addr())
		client := open(t, "redis://"+d.addr)
		works(t, client)
		d.leadTo(first)
		works(t, client)
		if slots := client.ClusterSlots(t.Context()).Val(); len(slots) != 3 {
			t.Errorf("it has not asked the cluster for its slots: %v", slots)
		}
	})
	t.Run("Open by a user who may not ask", func(t *testing.T) {
		works(t, open(t, "redis://uninformed:a-password@"+first))
	})
	t.Run("Dial by a user who may not ask", func(t *testing.T) {
		client, err := connect.Dial(t.Context(), "redis://uninformed:a-password@"+first, nil)
		if err == nil || !strings.Contains(err.Error(), "docs/redis.md") {
			t.Errorf("%T, %v", client, err)
		}
	})
	t.Run("another database", func(t *testing.T) {
		err := open(t, "redis://"+first+"/2").Set(t.Context(), "k", "v", 0).Err()
		if err == nil || !strings.Contains(err.Error(), "a cluster has database 0 only") {
			t.Errorf("Open: %v", err)
		}
		if client, err := connect.Dial(t.Context(), "redis://"+first+"/2", nil); err == nil ||
			!strings.Contains(err.Error(), "remove the number") {
			t.Errorf("Dial: %T, %v", client, err)
		}
	})
}

// socketOf is where a server that was started with socket listens beside its port.
func socketOf(s *redistest.Server) string {
	return filepath.Join(s.Client().ConfigGet(context.Background(), "dir").Val()["dir"], "redis.sock")
}

var socket = redistest.Args("--unixsocket", "redis.sock")

// A single server is one by every function, and what its URL says is done.
func TestOneAddressOfASingleServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, socket)
	least := "~* resetchannels &* -@all +get +set +ping +publish +subscribe +unsubscribe"
	for name, client := range both {
		t.Run(name, func(t *testing.T) {
			client1 := client(t, "redis://"+s.Addr()+"/3?client_name=tokens")
			works(t, client1)
			hears(t, client1)
			if err := client1.Set(t.Context(), "of "+name, "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			other := redis.NewClient(&redis.Options{Addr: s.Addr(), DB: 3})
			defer other.Close()
			if n := other.Exists(t.Context(), "of "+name).Val(); n != 1 {
				t.Error("it does not use the database that the URL names")
			}
			works(t, client(t, "unix://"+socketOf(s)))

			// Who may not ask for slots asks once, and nothing else is refused.
			s.AddUser("least", "a-password", least)
			s.Do("ACL", "LOG", "RESET")
			limited := client(t, "redis://least:a-password@"+s.Addr()+"?protocol=2") // else go-redis subscribes to maintenance
			works(t, limited)
			if c, ok := limited.(*redis.ClusterClient); ok {
				for range 3 {
					c.ReloadState(t.Context())
					works(t, limited)
				}
			}
			for _, e := range s.Client().ACLLog(t.Context(), 100).Val() {
				if e.Object != "cluster|slots" || e.Count != 1 {
					t.Errorf("%q was refused %d times", e.Object, e.Count)
				}
			}
		})
	}
}
