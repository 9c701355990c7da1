package redistest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Replicated is a primary and its replica, watched by one sentinel that fails over half a second after the primary has
// gone silent.
type Replicated struct {
	Primary, Replica *Server // changed by Failover, and not by a failover that a test brings about by killing the primary
	Sentinel         *Server
	Sentinels        []string // addresses, for redis.FailoverOptions
	MasterName       string

	tb testing.TB
}

// StartReplicated starts the two servers with opts, and the sentinel, and waits until the sentinel knows both others.
func StartReplicated(tb testing.TB, opts ...Option) *Replicated {
	tb.Helper()
	needs(tb, "a sentinel that asks for INFO often", 7, 0) // SENTINEL DEBUG
	r := &Replicated{MasterName: "primary", tb: tb}
	opts = append(slices.Clone(opts), Args("--repl-diskless-sync-delay", "0"))
	r.Primary = Start(tb, opts...)
	host, port, _ := strings.Cut(r.Primary.Addr(), ":")
	r.Replica = Start(tb, append(opts, Args("--replicaof", host+" "+port))...)
	r.waitForLink()

	// A folder of its own: the sentinel rewrites its configuration.
	dir := tb.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 1\nsentinel down-after-milliseconds %[1]s 500\n"+
		"sentinel failover-timeout %[1]s 5000\nsentinel parallel-syncs %[1]s 1\n", r.MasterName, host, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if _, err := findBinary("redis-sentinel", "redis-sentinel"); err != nil {
		tb.Fatal(err)
	}
	r.Sentinel = Start(tb, func(c *config) { c.sentinel = conf })
	r.Sentinels = []string{r.Sentinel.Addr()}
	// A sentinel asks for INFO every ten seconds and promotes nobody whose INFO it has not seen; it demotes the old
	// primary after four publish periods of two seconds. PING-PERIOD stays: nobody is promoted whose INFO is older than
	// five of them, and of a primary's replicas that is down INFO is asked for every second.
	r.Sentinel.Do("SENTINEL", "DEBUG", "INFO-PERIOD", "300", "PUBLISH-PERIOD", "100")
	eventually(tb, "the sentinel to know the replica", func() error {
		replicas, err := r.Sentinel.try("SENTINEL", "REPLICAS", r.MasterName)
		if err == nil && !strings.Contains(fmt.Sprint(replicas), r.Replica.Addr()) {
			err = fmt.Errorf("replicas: %v", replicas)
		}
		return err
	})
	return r
}

// FailoverClient is a new client that asks the sentinel for the primary, closed with the test.
func (r *Replicated) FailoverClient() *redis.Client {
	c := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: r.MasterName, SentinelAddrs: r.Sentinels, ContextTimeoutEnabled: true,
	})
	r.Sentinel.closeLater(c)
	return c
}

// Failover makes the replica the primary and waits until the sentinel says so, the new primary takes writes and the old
// one follows it. Primary and Replica change places.
func (r *Replicated) Failover() {
	r.tb.Helper()
	// Asked for until it has happened: the sentinel refuses until it has seen the replica's INFO, and gives up, without
	// trying again by itself, a failover whose replica does not answer for failover-timeout, as on a busy machine.
	eventually(r.tb, "the promotion", func() error {
		err := r.promoted(r.Replica)
		if err != nil && hasRole(r.Replica, "master") != nil { // else it is under way, and another would go back
			_, refused := r.Sentinel.try("SENTINEL", "FAILOVER", r.MasterName)
			err = errors.Join(err, refused)
		}
		return err
	})
	eventually(r.tb, "the old primary to be demoted", func() error { return hasRole(r.Primary, "slave") })
	r.Primary, r.Replica = r.Replica, r.Primary
	// A replica that never finished its first synchronisation is not promoted at the next failover.
	r.waitForLink()
}

func (r *Replicated) waitForLink() {
	r.tb.Helper()
	eventually(r.tb, "the replica's link to the primary", func() error {
		for s, want := range map[*Server]string{r.Primary: "state=online", r.Replica: "master_link_status:up"} {
			v, err := s.try("INFO", "replication")
			if err != nil {
				return err
			}
			if info := fmt.Sprint(v); !strings.Contains(info, want) {
				return errors.New(info)
			}
		}
		return nil
	})
}

// WaitForPromotion waits until the replica has become the primary, after the test killed or froze the old one.
func (r *Replicated) WaitForPromotion() {
	r.tb.Helper()
	r.waitFor(r.Replica)
}

func (r *Replicated) waitFor(s *Server) {
	r.tb.Helper()
	eventually(r.tb, "the promotion", func() error { return r.promoted(s) })
}

// promoted tells whether the sentinel names a server, and that is a primary.
func (r *Replicated) promoted(s *Server) error {
	v, err := r.Sentinel.try("SENTINEL", "GET-MASTER-ADDR-BY-NAME", r.MasterName)
	if err != nil {
		return err
	}
	if addr, ok := v.([]any); !ok || len(addr) != 2 || fmt.Sprintf("%v:%v", addr...) != s.Addr() {
		return fmt.Errorf("the sentinel names %v", v)
	}
	return hasRole(s, "master")
}

func hasRole(s *Server, want string) error {
	v, err := s.try("ROLE")
	if err != nil {
		return err
	}
	if role, ok := v.([]any); !ok || len(role) == 0 || role[0] != want {
		return fmt.Errorf("%s: role %v", s.Addr(), v)
	}
	return nil
}

// eventually waits for something that another process does and does not announce. A sentinel that was not given a
// processor for two seconds does nothing for 30 (its TILT mode), so the bound is beyond that.
// https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#tilt-mode
func eventually(tb testing.TB, what string, f func() error) {
	tb.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("redistest: waited in vain for %s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }
