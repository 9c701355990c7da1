package msalredis

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"
	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// One target for each parser of this package; serializer has its own. `make fuzz` runs them all, docs/reliability.md
// says for how long they ran. What they found is in testdata/fuzz.

// newFuzzCache is a Cache whose Redis is a function of what it is sent; nil: nobody answers.
func newFuzzCache(tb testing.TB, redisSays func(command string) []byte) *Cache {
	tb.Helper()
	key, err := serializer.ParseKeys("k1:" + base64.StdEncoding.EncodeToString(append(bytes.Repeat([]byte{7}, 31), 8)))
	if err != nil {
		tb.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key...)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := New(fuzzClient(tb, redisSays), sealer, &Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// fuzzClient is the client of a Redis that answers each command with what redisSays; nil: of one that does not answer.
func fuzzClient(tb testing.TB, redisSays func(command string) []byte) *redis.Client {
	tb.Helper()
	rdb := redis.NewClient(&redis.Options{
		MaxRetries: -1, DisableIdentity: true, PoolSize: 4, DialerRetries: 1,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if redisSays == nil {
				return nil, errors.New("nobody answers")
			}
			ours, theirs := net.Pipe()
			go serveOnce(theirs, redisSays)
			return ours, nil
		},
	})
	tb.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// serveOnce introduces itself as a Redis, gives one answer and hangs up.
func serveOnce(conn net.Conn, says func(string) []byte) {
	defer conn.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		command := strings.ToLower(string(buffer[:n]))
		if strings.Contains(command, "hello") || strings.Contains(command, "maint_notifications") {
			for range strings.Count(command, "*") { // pipelined
				if _, err := conn.Write([]byte("-ERR unknown command\r\n")); err != nil {
					return
				}
			}
			continue
		}
		_, _ = conn.Write(says(command))
		return
	}
}

// FuzzStoredValue: whatever stands at a place in Redis, it is what was sealed for that place, or an error.
func FuzzStoredValue(f *testing.F) {
	c := newFuzzCache(f, nil)
	f.Add("msal:v1:{x}:tokens", "field", int64(1_700_000_000_000_000), int64(1_700_003_600), []byte(`{"secret":"x"}`), 30, byte(1))
	f.Add("", "", int64(-1), int64(1)<<62, []byte{}, 0, byte(0))
	f.Fuzz(func(t *testing.T, key, field string, stamp, expiry int64, content []byte, at int, flip byte) {
		if h := layout.Header(stamp, expiry); len(h) != layout.HeaderSize {
			t.Fatalf("the header has %d bytes", len(h))
		}
		value, err := layout.Seal(c.serializer, key, field, stamp, expiry, content)
		if err != nil {
			t.Fatal(err)
		}
		got, s, e, err := layout.Open(c.serializer, key, field, value)
		if err != nil || !bytes.Equal(got, content) || s != min(max(stamp, 0), layout.MaxStamp) || e != min(max(expiry, 0), 9_999_999_999) {
			t.Fatalf("what was sealed does not open: %v", err)
		}
		if flip != 0 {
			changed := []byte(value)
			changed[uint(at)%uint(len(changed))] ^= flip
			if _, _, _, err := layout.Open(c.serializer, key, field, string(changed)); err == nil {
				t.Fatal("a changed value opens")
			}
		}
		if _, _, _, err := layout.Open(c.serializer, key+"x", field, value); err == nil {
			t.Fatal("a value opens at another key")
		}
		if _, _, _, err := layout.Open(c.serializer, key, field+"x", value); err == nil {
			t.Fatal("a value opens in another field")
		}
		// Anything at all in its place.
		if _, _, _, err := layout.Open(c.serializer, key, field, string(content)); err == nil {
			t.Fatal("a value that was not sealed opens")
		}
		if _, _, _, err := layout.Open(c.serializer, key, field, value[:layout.HeaderSize]+string(content)); err == nil {
			t.Fatal("a value with a good header that was not sealed opens")
		}
	})
}

// endpoints is Entra ID as far as MSAL needs it, with a token endpoint that says body.
type endpoints struct{ body []byte }

func (e *endpoints) RoundTrip(req *http.Request) (*http.Response, error) {
	body := e.body
	if req.Method == http.MethodGet {
		body = []byte(`{"token_endpoint":"https://login.microsoftonline.com/t/oauth2/v2.0/token","authorization_endpoint":"https://login.microsoftonline.com/t/authorize","issuer":"https://login.microsoftonline.com/t/v2.0"}`)
	} else {
		_, _ = io.Copy(io.Discard, req.Body)
	}
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: req}, nil
}

// FuzzTokenResponse: whatever the token endpoint says, MSAL understands through the gate what it would understand
// without it.
func FuzzTokenResponse(f *testing.F) {
	for _, s := range []string{
		`{"access_token":"a","expires_in":3600,"token_type":"Bearer"}`,
		`{"access_token":"a","expires_in":"3600","ext_expires_in":"7200","refresh_in":"1800","refresh_token":"r","foci":"1"}`,
		`{"access_token":"a","expires_in":3600,"expires_on":"1900000000","client_info":"eyJ1aWQiOiJ1IiwidXRpZCI6InQifQ","id_token":"x.e30.y"}`,
		`{"access_token":"a","expires_in":3600,"expires_on":"18448644073709"}`, `{"access_token":"a","expires_in":3600,"refresh_in":18446744073710}`,
		`{"access_token":"a","expires_in":null}`, `[]`, `null`, ``, `{"access_token":"a","expires_in":1e3}`,
	} {
		f.Add([]byte(s))
	}
	c := newFuzzCache(f, nil)
	server := &endpoints{}
	plain := &http.Client{Transport: server}
	gated := &http.Client{Transport: c.Transport(server)}
	cred, err := confidential.NewCredFromSecret("secret")
	if err != nil {
		f.Fatal(err)
	}
	acquire := func(t *testing.T, via *http.Client) (confidential.AuthResult, error) {
		app, err := confidential.New("https://login.microsoftonline.com/t", "client", cred, confidential.WithHTTPClient(via), confidential.WithInstanceDiscovery(false))
		if err != nil {
			t.Fatal(err)
		}
		return app.AcquireTokenByCredential(context.Background(), []string{"scope"})
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		server.body = body
		want, wantErr := acquire(t, plain)
		c.answers.known.InvalidateAll()
		got, gotErr := acquire(t, gated)
		if wantErr != nil && gotErr == nil {
			// The gate writes a refresh_in where there is none worth the name, and MSAL then reads the rest.
			server.body = tokenresp.SetMember(body, "refresh_in", "60")
			want, wantErr = acquire(t, plain)
		}
		if (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("with the gate %v, without %v", gotErr, wantErr)
		}
		if want.AccessToken != got.AccessToken || want.IDToken.RawToken != got.IDToken.RawToken || want.Account.HomeAccountID != got.Account.HomeAccountID {
			t.Fatal("another token than without the gate")
		}
		if d := got.ExpiresOn.Sub(want.ExpiresOn); wantErr == nil && d.Abs() > 3*time.Second {
			t.Fatalf("it lives %v longer than without the gate", d)
		}
	})
}

// FuzzDiscovery: whatever a discovery endpoint answers, its reader gets it as it is, and what is remembered is bounded.
func FuzzDiscovery(f *testing.F) {
	c := newFuzzCache(f, nil)
	server := &bodyOf{}
	gated := c.Transport(server)
	f.Add("/t/v2.0/.well-known/openid-configuration", []byte(`{"token_endpoint":"https://login.microsoftonline.com/t/oauth2/v2.0/token"}`))
	f.Add("/common/discovery/instance", []byte(`{"tenant_discovery_endpoint":"https://x"}`))
	f.Add("//.well-known/openid-configuration", []byte(`{"token_endpoint":["x"]}`))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		server.body = body
		c.discovery.known.InvalidateAll()
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: path}, Header: http.Header{}}
		for range 2 { // from the server, and as it is remembered
			resp, err := gated.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatal("the document was changed")
			}
		}
		endpoint := strings.ToLower(gjson.GetBytes(body, "token_endpoint").String())
		if names := c.realms.of(endpoint, path); len(names) > 17 || len(names) == 0 {
			t.Fatalf("%d names", len(names))
		}
	})
}

type bodyOf struct{ body []byte }

func (b *bodyOf) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(b.body)), Request: req}, nil
}

// longReply finds lengths that go-redis would allocate before it has read anything. Package connect's clients refuse them.
var longReply = regexp.MustCompile(`[$*%~>=!|][0-9]{5,}`)

// FuzzRedisReply: whatever a Redis answers, bytes on the wire, it is an error or an answer; a Cache goes on.
func FuzzRedisReply(f *testing.F) {
	var says []byte
	answers := func(string) []byte { return says }
	c := newFuzzCache(f, answers)
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	c.redis = redisop.New(fuzzClient(f, answers), c.asking(dead)) // no breaker: each reply is asked for
	for _, s := range []string{
		"*4\r\n$16\r\n1700000000000000\r\n$1\r\n1\r\n$1\r\n0\r\n*2\r\n$1\r\nv\r\n$1\r\n1\r\n", "*3\r\n$16\r\n1700000000000000\r\n$0\r\n\r\n$0\r\n\r\n",
		"*-1\r\n", "$-1\r\n", ":1\r\n", "%1\r\n+a\r\n+b\r\n", "*1\r\n*1\r\n*1\r\n*0\r\n", "-NOSCRIPT x\r\n", "-LOADING x\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(1\r\n",
		"=5\r\ntxt:x\r\n", ">2\r\n+message\r\n+x\r\n", "|1\r\n+a\r\n+b\r\n*0\r\n", "", "*2\r\n:1\r\n", "-MOVED 1 127.0.0.1:1\r\n",
	} {
		f.Add([]byte(s), byte(0))
		f.Add([]byte(s), byte(1))
	}
	f.Fuzz(func(t *testing.T, reply []byte, what byte) {
		if longReply.Match(reply) {
			t.Skip()
		}
		says = reply
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r := c.record("user.tenant")
		var err error
		switch what % 5 {
		case 0:
			if err = c.store.Reload(ctx, r); !r.Known().Empty() {
				t.Fatal("an entry that nobody sealed")
			}
		case 1:
			var k known
			k, _, err = c.look(ctx, &tokenRequest{}, "x")
			if k.answer != nil || k.pause != nil {
				t.Fatal("an answer that nobody sealed")
			}
		case 2:
			_, err = c.loadAccounts(ctx, &manager{inUse: map[string]*use{}})
		case 3:
			_, err = c.store.List(ctx, "p", layout.Member{Kind: "m"}, 1, 1)
		case 4:
			lease, leaseErr := c.redis.TryLease(ctx, "k")
			if err = leaseErr; err == nil {
				err = lease.Release(ctx)
			}
		}
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			t.Fatal("it hangs")
		}
	})
}

// A fuzz test whose seeds are lost still passes.
func TestFuzzSeedsAreThere(t *testing.T) {
	found, err := filepath.Glob(filepath.Join("testdata", "fuzz", "Fuzz*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		if target := filepath.Base(filepath.Dir(name)); !bytes.Contains(source, []byte("func "+target+"(")) {
			t.Errorf("the seeds of %s have no target", target)
		}
	}
	if len(found) == 0 {
		t.Error("no seeds")
	}
}
