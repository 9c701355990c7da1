package connect_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// password has every character that a URL may trip over.
const password = "p@ss:w/o?r#d%20 ü"

func TestMain(m *testing.M) {
	logging.Disable()
	goleak.VerifyTestMain(m)
}

func dial(t *testing.T, url string, opts *connect.Options) redis.UniversalClient {
	t.Helper()
	client, err := connect.Dial(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// works writes and reads through a client, in several slots.
func works(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	prefix := redistest.Prefix(t)
	for i := range 5 {
		key := fmt.Sprintf("%s:%d", prefix, i)
		if err := client.Set(t.Context(), key, "v", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		if v, err := client.Get(t.Context(), key).Result(); v != "v" || err != nil {
			t.Fatalf("Get = %q, %v", v, err)
		}
	}
}

func TestDialStandalone(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.AddUser("app", password, "~* &* +@all")
	s.Do("CONFIG", "SET", "requirepass", password)
	for name, user := range map[string]*url.Userinfo{"password": url.UserPassword("", password),
		"user": url.UserPassword("app", password)} {
		u := url.URL{Scheme: "redis", User: user, Host: s.Addr(), Path: "/3"}
		t.Run(name, func(t *testing.T) {
			client := dial(t, u.String(), nil)
			works(t, client)
			o := client.(*redis.Client).Options()
			if !o.ContextTimeoutEnabled || !o.DisableIdentity || o.DialTimeout != 2*time.Second ||
				o.ConnMaxIdleTime != 3*time.Minute || o.PoolSize < 20 || o.DB != 3 {
				t.Errorf("options %+v", o)
			}
		})
	}
	u := url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: s.Addr(),
		RawQuery: "pool_size=7&dial_timeout=3s&conn_max_idle_time=1m"}
	if o := dial(t, u.String(), nil).(*redis.Client).Options(); o.PoolSize != 7 || o.DialTimeout != 3*time.Second ||
		o.ConnMaxIdleTime != time.Minute {
		t.Errorf("what the URL sets is changed: %+v", o)
	}
}

func TestDialTLS(t *testing.T) {
	t.Parallel()
	s := redistest.StartTLS(t)
	trusting := &tls.Config{RootCAs: s.TLSConfig().RootCAs}
	works(t, dial(t, "rediss://"+s.Addr(), &connect.Options{TLSConfig: trusting}))
	works(t, dial(t, "rediss://"+s.Addr()+"?skip_verify=true", &connect.Options{InsecureSkipVerify: true}))
	// Said in the options alone it changes nothing.
	if _, err := connect.Dial(t.Context(), "rediss://"+s.Addr(), &connect.Options{InsecureSkipVerify: true}); err == nil ||
		!strings.Contains(err.Error(), "RootCAs") {
		t.Errorf("an unknown CA: %v", err)
	}
	for name, refused := range map[string]struct {
		url  string
		opts *connect.Options
	}{
		"in the URL":       {"rediss://" + s.Addr() + "?skip_verify=true", &connect.Options{TLSConfig: trusting}},
		"in the TLSConfig": {"rediss://" + s.Addr(), &connect.Options{TLSConfig: &tls.Config{InsecureSkipVerify: true}}},
	} {
		if _, err := connect.Dial(t.Context(), refused.url, refused.opts); !errors.Is(err, connect.ErrURL) ||
			!strings.Contains(err.Error(), "InsecureSkipVerify") {
			t.Errorf("no verification %s: %v", name, err)
		}
	}
	wrongName := trusting.Clone()
	wrongName.ServerName = "redis.example"
	if _, err := connect.Dial(t.Context(), "rediss://"+s.Addr(), &connect.Options{TLSConfig: wrongName}); err == nil ||
		!strings.Contains(err.Error(), "for another name") {
		t.Errorf("another name: %v", err)
	}
	if _, err := connect.Dial(t.Context(), "redis://"+s.Addr(), nil); err == nil ||
		!strings.Contains(err.Error(), "rediss://") {
		t.Errorf("plain to a TLS port: %v", err)
	}
}

func TestDialTLSWithClientCertificate(t *testing.T) {
	t.Parallel()
	s := redistest.StartTLS(t, redistest.ClientCertificate())
	works(t, dial(t, "rediss://"+s.Addr(), &connect.Options{TLSConfig: s.TLSConfig()}))
	_, err := connect.Dial(t.Context(), "rediss://"+s.Addr(),
		&connect.Options{TLSConfig: &tls.Config{RootCAs: s.TLSConfig().RootCAs}})
	if err == nil || !strings.Contains(err.Error(), "client certificate") {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestDialCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	addrs := c.Addrs()
	for name, u := range map[string]string{
		"list":           "redis://" + strings.Join(addrs, ","),
		"addr":           "redis://" + addrs[0] + "?addr=" + addrs[1],
		"one of several": "redis://" + addrs[2],
	} {
		client := dial(t, u, nil)
		if _, ok := client.(*redis.ClusterClient); !ok {
			t.Errorf("%s: a %T", name, client)
			continue
		}
		works(t, client)
		if o := client.(*redis.ClusterClient).Options(); !o.ContextTimeoutEnabled || !o.DisableIdentity ||
			o.DialTimeout != 2*time.Second || o.PoolSize < 20 {
			t.Errorf("%s: options %+v", name, o)
		}
	}
	if _, err := connect.Dial(t.Context(), "redis://"+addrs[0]+","+addrs[1]+"/2", nil); !errors.Is(err, connect.ErrURL) ||
		!strings.Contains(err.Error(), "database 0") {
		t.Errorf("a database of a cluster: %v", err)
	}
	if _, err := connect.Dial(t.Context(), "redis://"+addrs[0]+"/2", nil); err == nil ||
		!strings.Contains(err.Error(), "database") {
		t.Errorf("a database of one node: %v", err)
	}
	// A node that is away is named.
	c.Nodes[1].Kill()
	if _, err := connect.Dial(t.Context(), "redis://"+strings.Join(addrs, ","), nil); err == nil ||
		!strings.Contains(err.Error(), addrs[1]) {
		t.Errorf("a node is away: %v", err)
	}
}

func TestDialSentinel(t *testing.T) {
	t.Parallel()
	r := redistest.StartReplicated(t)
	sentinel := "redis://" + r.Sentinels[0]
	client := dial(t, sentinel+"?master_name="+r.MasterName, nil)
	works(t, client)
	if o := client.(*redis.Client).Options(); !o.ContextTimeoutEnabled || !o.DisableIdentity || o.PoolSize < 20 {
		t.Errorf("options %+v", o)
	}
	// A second Sentinel that is away does no harm.
	works(t, dial(t, sentinel+",127.0.0.1:1?master_name="+r.MasterName, nil))
	for _, bad := range []struct{ url, want string }{
		{sentinel + "?master_name=other", "set master_name"},
		{sentinel + "?master_name=", "master_name is empty"},
		{sentinel + "?replica_only=true&master_name=" + r.MasterName, "remove replica_only"},
		{"redis://127.0.0.1:1?master_name=" + r.MasterName, "no Sentinel answers"},
	} {
		if _, err := connect.Dial(t.Context(), bad.url, nil); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %q", bad.url, err, bad.want)
		}
	}
}

// Errors say what to change, and nothing of the password.
func TestErrorsSayWhatToChange(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.AddUser("nothing", "a-password", "~*")
	const secret = "a-pass-word"
	for _, c := range []struct{ url, want string }{
		{secret, "write redis://"},
		{"https://user:" + secret + "@host", "scheme"},
		{"", "it is empty"},
		{" \n", "it is empty"},
		{"redis://user:" + secret + "/a@host:6379", "percent-encode"},
		{"redis://user:12?" + secret + "@host:6379", "percent-encode"},
		{"redis://user:12#" + secret + "@host:6379", "percent-encode"},
		{"redis://user:" + secret + "%zz@host:6379", "percent-encode"},
		{"redis://user:" + secret + "%zz@host:6379", "percent-encode"},
		{"redis://user:x@host:" + secret, "percent-encode"},
		{"redis://user:x@host/" + secret, "number of a database"},
		{"redis://user:x@host,,other", "between two commas"},
		{"redis://user:" + secret + "@host?adr=other:1", "does not know for this kind of server: adr"},
		{"redis://user:x@host?addr=" + secret, "host:port"},
		{"redis://user:x@host?max_retries=" + secret, "parameter max_retries"},
		{"redis://user:x@host?route_randomly=true&addr=b:1", "remove route_randomly"},
		{"redis://user:x@host?read_only=false&read_only=true&addr=b:1", "read_only stands in it twice"},
		{"redis://host?pool_size=-1", "pool_size must be between 0 and 10000"},
		{"redis://host?pipeline_read_buffer_size=99999999999", "pipeline_read_buffer_size must be"},
		{"redis://user:" + secret + "@" + s.Addr(), "user or password is wrong"},
		{"redis://:" + secret + "@127.0.0.1:1", "nothing listens there"},
		{"redis://:" + secret + "@no-such-host.invalid", "name is not known"},
		{"rediss://:" + secret + "@" + s.Addr(), "does not speak TLS"},
		{"redis://nothing:a-password@" + s.Addr(), "docs/redis.md"},
		{"redis://" + s.Addr() + "/99", "remove the number"},
		{"unix:///nowhere/redis.sock", "no connection"},
	} {
		client, err := connect.Dial(t.Context(), c.url, nil)
		if err == nil {
			client.Close()
			t.Errorf("%q: no error", c.url)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.url, err, c.want)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
			t.Errorf("%q: the error holds the password: %v", c.url, err)
		}
	}
	s.Do("CONFIG", "SET", "requirepass", "x")
	if _, err := connect.Dial(t.Context(), "redis://"+s.Addr(), nil); err == nil ||
		!strings.Contains(err.Error(), "wants a password") {
		t.Errorf("no password: %v", err)
	}
}

// A server that accepts and does not answer costs the caller's context and no more, by every kind of client.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Freeze()
	for _, u := range []string{"redis://" + s.Addr(), "redis://" + s.Addr() + "," + s.Addr(),
		"redis://" + s.Addr() + "?master_name=p"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		begin := time.Now()
		_, err := connect.Dial(ctx, u, nil)
		if err == nil || time.Since(begin) > 4*time.Second { // unbounded reads take ReadTimeout, 5 s, several times
			t.Errorf("%s: %v after %v", u, err, time.Since(begin))
		}
	}
}

// Open asks nothing.
func TestOpenAsksNothing(t *testing.T) {
	t.Parallel()
	client, err := connect.Open("redis://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if _, err := connect.Open("redis://host?nonsense=1", nil); !errors.Is(err, connect.ErrURL) {
		t.Errorf("%v", err)
	}
	_, err = connect.Open("redis://host", &connect.Options{TLSConfig: &tls.Config{}})
	if !errors.Is(err, connect.ErrURL) {
		t.Errorf("a TLSConfig without TLS: %v", err)
	}
}

func ExampleDial() {
	ctx := context.Background()
	_, err := connect.Dial(ctx, "redis://127.0.0.1:1?nonsense=1", nil)
	fmt.Println(strings.Replace(err.Error(), ": ", ":\n", 2))
	// Output:
	// connect:
	// the Redis URL cannot be used:
	// it has parameters that go-redis does not know for this kind of server: nonsense
}

// Whatever is wrong with a URL, no error shows what may be a password: one that a : or , has made a host of, or ? and &
// the name of a parameter.
func TestMalformedURLsShowNoPassword(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"sesame", "Sesame-0123", "p%40ss", "se:zame", "se,zame", "se?zame", "se/zame",
		"se#zame", "se&zame", "se=zame", "se zame", "se;zame", "se[zame]", "se%zame", "séşzame", "se\x1bzame"} {
		for _, url := range []string{
			"redis://:%s:host:6379", "redis://user:%s:host:6379", "rediss://:%s:host", "redis://:%s,host:6379",
			"redis://user:%s,host", "redis://user:%s;host:6379",
			"redis://user:%s host:6379", "redis://:%s/host:6379", "redis://:%s?host:6379", "redis://:%s#host:6379",
			"redis://:%s&host:6379", "redis://:%s\\@host",
			"redis://user:%s", "redis://:%s", "redis://user:%s%%40host:6379", "redis://user:x%s:y@host:",
			"redis:/user:%s@host:6379", "redis:user:%s@host", "redis//user:%s@host", "://user:%s@host",
			"user:%s@host:6379", "http://user:%s@host", " redis ://user:%s@host", "redis://user:%s@host:port",
			"redis://user:%s@ho st", "redis://user:%s@[::1", "redis://user:%s@host:99999", "redis://user:%s@:6379",
			"redis://user:%s@,host", "redis://user:%s@host,,b", "redis://user:%s@host?x", "redis://user:%s@host?%s",
			"redis://host?%s", "redis://host?db=%s", "redis://host?addr=%s:1:2", "redis://host?addr=%s",
			"redis://host?master_name=m&replica_only=%s", "redis://host?x=1&%s", "redis://host/%s", "redis://host:6379/0/%s",
			"redis://%s@host?nonsense=1", "redis://host:%s", "redis://host?db=1&db=%s", "redis://host?Db=%s",
			"unix://:%s/run/redis.sock", "unix://user:%s", "unix://:%s:/run/redis.sock", "unix://:%s@host/run/redis.sock?x=1",
			"redis://user:%s@host\n:6379", "redis://%s@host", "redis://%s:@host", "redis://host,:%s",
			"redis://host,[%s]", "redis://[%s]:1", "host:6380,password=%s,ssl=True", "host:6380,ssl=True,password=%s",
			"rediss://host:6380,password=%s,ssl=True,abortConnect=False", "%s:6380,ssl=True", "host,user=%s,password=%s",
			"%s,password=%s", "password=%s,host:6380", "host:6380,ssl=%s", "redis://user:%s@host:6380,password=%s",
		} {
			url := strings.ReplaceAll(strings.ReplaceAll(url, "%%", "\x00"), "%s", secret)
			url = strings.ReplaceAll(url, "\x00", "%")
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond) // what is understood after all, asks nobody
			_, err := connect.Dial(ctx, url, nil)
			cancel()
			if err == nil {
				t.Errorf("%q: no error", url)
				continue
			}
			if errors.Is(err, connect.ErrURL) {
				for _, part := range strings.FieldsFunc(secret,
					func(r rune) bool { return strings.ContainsRune(":,?/#&=;[]% \x1b", r) }) {
					if len(part) > 3 && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(part)) {
						t.Errorf("%q: shown: %v", url, err)
					}
				}
			} else if strings.Contains(err.Error(), secret) {
				t.Errorf("%q is understood, and shown: %v", url, err)
			}
		}
	}
}

// A host that is missing is not this machine.
func TestHostsAreWritten(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis://", "redis:///0", "redis://:6379", "redis://user:x@:6379/1", "redis://,host",
		"redis://host,", "redis://:6379,host", "redis://host,:6380", "redis://user:x@,host", "redis://h?addr=:6379",
		"redis://,", "rediss://,host?master_name=m", "redis://?master_name=m", "redis://h?addr="} {
		if _, err := connect.Open(url, nil); !errors.Is(err, connect.ErrURL) {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, want := range map[string]string{"redis://localhost": "localhost:6379", "redis://[::1]": "[::1]:6379",
		"redis://[::1]:7": "[::1]:7", "redis://[fe80::1%25lo]:7": "[fe80::1%lo]:7",
		"redis://redis_1.example.:8/2": "redis_1.example.:8", "redis://bücher.example": "bücher.example:6379",
		"redis://token_cache-redis.1": "token_cache-redis.1:6379", "redis://127.0.0.1": "127.0.0.1:6379"} {
		for _, more := range []string{"", ",other:1"} {
			host, db, found := strings.Cut(strings.TrimPrefix(url, "redis://"), "/")
			if found && more != "" {
				continue
			}
			client, err := connect.Open("redis://"+host+more+strings.Repeat("/"+db, map[bool]int{true: 1}[found]), nil)
			if err != nil {
				t.Errorf("%s: %v", url, err)
				continue
			}
			if got := client.(*redis.ClusterClient).Options().Addrs[0]; got != want {
				t.Errorf("%s: %s, want %s", url, got, want)
			}
			client.Close()
		}
	}
	// A parameter has been decoded once: the zone's % stands as it is.
	client, err := connect.Open("redis://h?addr=[fe80::1%25lo]:7", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got := client.(*redis.ClusterClient).Options().Addrs[1]; got != "[fe80::1%lo]:7" {
		t.Errorf("a zone in addr: %s", got)
	}
}

// Who has no password is refused where another would log in than the URL names, and only there.
func TestUsersWithoutPasswords(t *testing.T) {
	t.Parallel()
	login := &connect.Options{Credentials: subscribed{}}
	for _, test := range []struct {
		url  string
		opts *connect.Options
		fine bool
	}{
		{"redis://@host", nil, true},
		{"redis://:@host", nil, true}, // as a template with an empty variable makes it
		{"redis://default@host", nil, true},
		{"redis://default:@host,other", nil, true},
		{"redis://app@host", nil, false},
		{"redis://app:@host", nil, false},
		{"redis://Default@host", nil, false},
		{"rediss://app@host,other", nil, false},
		{"redis://app@sentinel?master_name=m", nil, false},
		{"rediss://00000000-0000-4000-8000-00000000000a@host", login, true}, // a Login's user is the token's
		{"rediss://app:@host,other", login, true},
	} {
		client, err := connect.Open(test.url, test.opts)
		if (err == nil) != test.fine || err != nil && (!errors.Is(err, connect.ErrURL) ||
			!strings.Contains(err.Error(), "no password")) {
			t.Errorf("%s, Credentials %v: %v", test.url, test.opts != nil, err)
		}
		if err == nil {
			client.Close()
		}
	}
}

// subscribed is a login that is never asked.
type subscribed struct {
	auth.StreamingCredentialsProvider
}

// The name of a single Sentinel is not that of the primary: each is verified by the host that is dialled.
func TestSentinelsNameIsNotThePrimarys(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"rediss://sentinel.example?master_name=m": "", "rediss://a.example,b.example?master_name=m": "",
		"rediss://one.example": "one.example", "rediss://a.example,b.example": "",
	} {
		if got := connect.ServerName(t, url, nil); got != want {
			t.Errorf("%s: verifies %q, want %q", url, got, want)
		}
	}
	if got := connect.ServerName(t, "rediss://sentinel.example?master_name=m",
		&connect.Options{TLSConfig: &tls.Config{ServerName: "redis.example"}}); got != "redis.example" {
		t.Errorf("what the caller names: %q", got)
	}
}
