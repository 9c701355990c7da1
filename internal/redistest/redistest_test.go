package redistest

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

const childEnv = "REDISTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" { // see TestServerDiesWithTheTestProcess
		s, err := Launch()
		if err != nil {
			panic(err)
		}
		println(s.PID())
		select {}
	}
	goleak.VerifyTestMain(m)
}

func setAndGet(t *testing.T, c redis.UniversalClient, key string) {
	t.Helper()
	ctx := t.Context()
	if err := c.Set(ctx, key, "v", time.Minute).Err(); err != nil {
		t.Fatalf("SET %s: %v", key, err)
	}
	if v, err := c.Get(ctx, key).Result(); err != nil || v != "v" {
		t.Fatalf("GET %s = %q, %v", key, v, err)
	}
}

func TestStandalone(t *testing.T) {
	s := Start(t)
	setAndGet(t, s.Client(), Prefix(t))
	o, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if o.Addr != s.Addr() {
		t.Errorf("URL names %s, Addr %s", o.Addr, s.Addr())
	}
	if a, b := Prefix(t), Prefix(t); a == b || len(a) != len("t-")+8 {
		t.Errorf("prefixes %q, %q", a, b)
	}
}

func TestPassword(t *testing.T) {
	s := Start(t, Password("p4ss"))
	setAndGet(t, s.Client(), "k")
	stranger := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer stranger.Close()
	if err := stranger.Get(t.Context(), "k").Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
}

func TestRestart(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		t.Run("persistent="+strconv.FormatBool(persistent), func(t *testing.T) {
			var opts []Option
			if persistent {
				opts = append(opts, Persistent())
			}
			s := Start(t, opts...)
			c := s.Client()
			setAndGet(t, c, "k")
			addr := s.Addr()
			s.Kill()
			if err := c.Get(t.Context(), "k").Err(); err == nil {
				t.Fatal("a killed server answered")
			}
			s.Restart()
			if s.Addr() != addr {
				t.Errorf("address moved from %s to %s", addr, s.Addr())
			}
			err := c.Get(t.Context(), "k").Err()
			if persistent && err != nil || !persistent && !errors.Is(err, redis.Nil) {
				t.Errorf("after the restart: %v", err)
			}
		})
	}
}

// Also one that was a replica, and has the data of its first synchronization on disk.
func TestRestartOfAReplicaIsEmpty(t *testing.T) {
	primary, replica := Start(t), Start(t)
	setAndGet(t, primary.Client(), "k")
	host, port, _ := strings.Cut(primary.Addr(), ":")
	replica.Do("REPLICAOF", host, port)
	eventually(t, "the replica to have the data", func() error { return replica.Client().Get(t.Context(), "k").Err() })
	replica.Do("REPLICAOF", "NO", "ONE")
	replica.Kill()
	replica.Restart()
	if err := replica.Client().Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("after the restart: %v", err)
	}
}

func TestFreeze(t *testing.T) {
	s := Start(t)
	c := s.Client()
	setAndGet(t, c, "k")
	s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Get(ctx, "k").Err(); err == nil {
		t.Fatal("a frozen server answered")
	}
	s.Thaw()
	setAndGet(t, c, "k")
	s.Freeze() // Cleanup must end a frozen server too
}

func TestReadOnly(t *testing.T) {
	s := Start(t)
	c := s.Client()
	setAndGet(t, c, "k")
	s.ReadOnly()
	if err := c.Set(t.Context(), "k", "w", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "READONLY") {
		t.Errorf("SET: %v", err)
	}
	if err := c.Get(t.Context(), "k").Err(); err != nil {
		t.Errorf("GET: %v", err)
	}
	s.Writable()
	setAndGet(t, c, "k")
}

func TestFillMemory(t *testing.T) {
	s := Start(t)
	c := s.Client()
	s.FillMemory()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Errorf("SET: %v", err)
	}
	s.MaxMemory(0)
	setAndGet(t, c, "k")
}

func TestACL(t *testing.T) {
	_, admin, limited := StartACL(t, "~mine:* +get +set")
	setAndGet(t, admin, "k")
	setAndGet(t, limited, "mine:k")
	if err := limited.Get(t.Context(), "k").Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
		t.Errorf("a foreign key: %v", err)
	}
	if err := limited.Publish(t.Context(), "ch", "").Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
		t.Errorf("a foreign command: %v", err)
	}
}

func TestTLS(t *testing.T) {
	for _, mutual := range []bool{false, true} {
		t.Run("mutual="+strconv.FormatBool(mutual), func(t *testing.T) {
			var opts []Option
			if mutual {
				opts = append(opts, ClientCertificate())
			}
			s := StartTLS(t, opts...)
			setAndGet(t, s.Client(), "k")

			o, err := redis.ParseURL(s.URL())
			if err != nil {
				t.Fatal(err)
			}
			o.TLSConfig = s.TLSConfig()
			byURL := redis.NewClient(o)
			defer byURL.Close()
			setAndGet(t, byURL, "k")

			// Without certificate in a session: refused exactly if the server asks for one.
			o = s.Options()
			o.TLSConfig = &tls.Config{RootCAs: s.TLSConfig().RootCAs}
			bare := redis.NewClient(o)
			defer bare.Close()
			if err := bare.Ping(t.Context()).Err(); (err != nil) != mutual {
				t.Errorf("without a client certificate: %v", err)
			}
			// And a client that does not know the CA does not connect.
			o = s.Options()
			o.TLSConfig = &tls.Config{}
			wary := redis.NewClient(o)
			defer wary.Close()
			if err := wary.Ping(t.Context()).Err(); err == nil {
				t.Error("a client without the CA connected")
			}
		})
	}
}

func TestReplicated(t *testing.T) {
	r := StartReplicated(t)
	c := r.FailoverClient()
	setAndGet(t, c, "before")
	old := r.Primary
	r.Failover()
	if r.Primary == old {
		t.Fatal("the primary is the same")
	}
	eventually(t, "the client to follow", func() error { return c.Set(t.Context(), "after", "v", 0).Err() })
	if v := r.Primary.Do("GET", "after"); v != "v" {
		t.Errorf("the new primary has %v", v)
	}

	r.Primary.Kill()
	r.WaitForPromotion()
	setAndGet(t, r.Replica.Client(), "again")
}

func TestCluster(t *testing.T) {
	c := StartCluster(t)
	client := c.Client()
	for i := range 20 {
		setAndGet(t, client, "k"+strconv.Itoa(i))
	}
	holding := 0
	for _, n := range c.Nodes {
		if n.Do("DBSIZE").(int64) > 0 {
			holding++
		}
	}
	if holding != 3 {
		t.Errorf("%d of 3 nodes hold keys", holding)
	}
}

// recorder catches what Start does to the test that it is called by.
type recorder struct {
	testing.TB
	fatal, skipped bool
	text           string
}

func (r *recorder) Helper() {}
func (r *recorder) Fatal(args ...any) {
	r.fatal = true
	if err, ok := args[0].(error); ok {
		r.text = err.Error()
	}
	runtime.Goexit()
}
func (r *recorder) Skip(...any) { r.skipped = true; runtime.Goexit() }

func TestMissingBinaryFailsAndNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { defer close(done); Start(r) }()
	<-done
	if !r.fatal || r.skipped || !strings.Contains(r.text, "apt-get install redis-server") {
		t.Errorf("fatal %v, skipped %v, text %q", r.fatal, r.skipped, r.text)
	}
	if _, err := findBinary("redis-sentinel", "redis-sentinel"); err == nil ||
		!strings.Contains(err.Error(), "apt-get install redis-sentinel") {
		t.Errorf("redis-sentinel: %v", err)
	}
}

func TestBadArgumentIsReportedAtOnce(t *testing.T) {
	began := time.Now()
	_, err := Launch(Args("--no-such-directive", "1"))
	if err == nil || !strings.Contains(err.Error(), "no-such-directive") {
		t.Errorf("error: %v", err)
	}
	if d := time.Since(began); d > startTimeout/2 {
		t.Errorf("took %v", d)
	}
}

func TestLaunch(t *testing.T) {
	s, err := Launch()
	if err != nil {
		t.Fatal(err)
	}
	setAndGet(t, s.Client(), "k")
	dir := s.proc.dir
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}
