package gate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// endpoints is Entra ID as far as MSAL needs it, with a token endpoint that says body.
type endpoints struct{ body []byte }

func (e *endpoints) RoundTrip(req *http.Request) (*http.Response, error) {
	body := e.body
	if req.Method == http.MethodGet {
		body = []byte(`{"token_endpoint":"https://login.microsoftonline.com/t/oauth2/v2.0/token",` +
			`"authorization_endpoint":"https://login.microsoftonline.com/t/authorize",` +
			`"issuer":"https://login.microsoftonline.com/t/v2.0"}`)
	} else {
		_, _ = io.Copy(io.Discard, req.Body)
	}
	return &http.Response{
		StatusCode: 200, Status: "200 OK", Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: req,
	}, nil
}

// FuzzTokenResponse: whatever the token endpoint says, MSAL understands through the gate what it would understand
// without it.
func FuzzTokenResponse(f *testing.F) {
	for _, s := range []string{
		`{"access_token":"a","expires_in":3600,"token_type":"Bearer"}`,
		`{"access_token":"a","expires_in":"3600","ext_expires_in":"7200","refresh_in":"1800","refresh_token":"r","foci":"1"}`,
		`{"access_token":"a","expires_in":3600,"expires_on":"1900000000",` +
			`"client_info":"eyJ1aWQiOiJ1IiwidXRpZCI6InQifQ","id_token":"x.e30.y"}`,
		`{"access_token":"a","expires_in":3600,"expires_on":"18448644073709"}`,
		`{"access_token":"a","expires_in":3600,"refresh_in":18446744073710}`,
		`{"access_token":"a","expires_in":null}`, `[]`, `null`, ``, `{"access_token":"a","expires_in":1e3}`,
	} {
		f.Add([]byte(s))
	}
	g := newGate(f)
	server := &endpoints{}
	plain := &http.Client{Transport: server}
	gated := &http.Client{Transport: g.Transport(server)}
	cred, err := confidential.NewCredFromSecret("secret")
	if err != nil {
		f.Fatal(err)
	}
	acquire := func(t *testing.T, via *http.Client) (confidential.AuthResult, error) {
		app, err := confidential.New("https://login.microsoftonline.com/t", "client", cred,
			confidential.WithHTTPClient(via), confidential.WithInstanceDiscovery(false))
		if err != nil {
			t.Fatal(err)
		}
		return app.AcquireTokenByCredential(context.Background(), []string{"scope"})
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		server.body = body
		want, wantErr := acquire(t, plain)
		g.Settle(t.Context()) // the answer before this one is remembered when its caller has it
		g.Forget(layout.PartitionID(msaldoc.AppKey("client", "t", "")))
		got, gotErr := acquire(t, gated)
		if wantErr != nil && gotErr == nil {
			// The gate writes a refresh_in where there is none worth the name, and MSAL then reads the rest.
			server.body = tokenresp.SetMember(body, "refresh_in", "60")
			want, wantErr = acquire(t, plain)
		}
		if (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("with the gate %v, without %v", gotErr, wantErr)
		}
		if want.AccessToken != got.AccessToken || want.IDToken.RawToken != got.IDToken.RawToken ||
			want.Account.HomeAccountID != got.Account.HomeAccountID {
			t.Fatal("another token than without the gate")
		}
		if d := got.ExpiresOn.Sub(want.ExpiresOn); wantErr == nil && d.Abs() > 3*time.Second {
			t.Fatalf("it lives %v longer than without the gate", d)
		}
	})
}

// FuzzDiscovery: whatever a discovery endpoint answers, its reader gets it as it is, and what is remembered is bounded.
func FuzzDiscovery(f *testing.F) {
	g := newGate(f)
	server := &bodyOf{}
	gated := g.Transport(server)
	f.Add("/t/v2.0/.well-known/openid-configuration",
		[]byte(`{"token_endpoint":"https://login.microsoftonline.com/t/oauth2/v2.0/token"}`))
	f.Add("/common/discovery/instance", []byte(`{"tenant_discovery_endpoint":"https://x"}`))
	f.Add("//.well-known/openid-configuration", []byte(`{"token_endpoint":["x"]}`))
	n := 0
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		server.body = body
		n++ // another address, of which nothing is remembered
		req := &http.Request{
			Method: http.MethodGet, Header: http.Header{},
			URL: &url.URL{Scheme: "https", Host: "login.microsoftonline.com", Path: path, RawQuery: strconv.Itoa(n)},
		}
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
		if names := g.documents.Tenants(endpoint, path); len(names) > 17 || len(names) == 0 {
			t.Fatalf("%d names", len(names))
		}
	})
}

type bodyOf struct{ body []byte }

func (b *bodyOf) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(b.body)), Request: req,
	}, nil
}

// longReply finds lengths that go-redis would allocate before it has read anything. Package connect's clients refuse
// them.
var longReply = regexp.MustCompile(`[$*%~>=!|][0-9]{5,}`)

// FuzzRedisReply: whatever a Redis answers, bytes on the wire, it is an error or an answer, and the gate goes on.
func FuzzRedisReply(f *testing.F) {
	var says atomic.Pointer[[]byte]
	s := stage.New(f, stage.Answering(f, func(string) []byte { return *says.Load() }), stage.Options{NoBreaker: true})
	g := onStage(f, s)
	for _, seed := range []string{
		"*4\r\n$16\r\n1700000000000000\r\n$1\r\n1\r\n$1\r\n0\r\n*2\r\n$1\r\nv\r\n$1\r\n1\r\n",
		"*3\r\n$16\r\n1700000000000000\r\n$0\r\n\r\n$0\r\n\r\n",
		"*-1\r\n", "$-1\r\n", ":1\r\n", "%1\r\n+a\r\n+b\r\n", "*1\r\n*1\r\n*1\r\n*0\r\n", "-NOSCRIPT x\r\n", "-LOADING x\r\n",
		"_\r\n", "#t\r\n", ",1.5\r\n", "(1\r\n",
		"=5\r\ntxt:x\r\n",
		">2\r\n+message\r\n+x\r\n", "|1\r\n+a\r\n+b\r\n*0\r\n", "", "*2\r\n:1\r\n", "-MOVED 1 127.0.0.1:1\r\n",
	} {
		f.Add([]byte(seed), byte(0))
		f.Add([]byte(seed), byte(1))
	}
	f.Fuzz(func(t *testing.T, reply []byte, what byte) {
		if longReply.Match(reply) {
			t.Skip()
		}
		says.Store(&reply)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r := g.o.Store.Of(layout.PartitionID("user.tenant"), true)
		var err error
		switch what % 4 {
		case 0:
			if err = g.o.Store.Reload(ctx, r); !r.Known().Empty() {
				t.Fatal("an entry that nobody sealed")
			}
		case 1:
			var found answers.Found
			found, _, err = g.answers.Look(ctx, &answers.Request{Request: tokenreq.Request{ID: "x"}})
			if found.Answer != nil || found.Pause != nil {
				t.Fatal("an answer that nobody sealed")
			}
		case 2:
			_, err = g.o.Store.List(ctx, "p", layout.Member{Kind: "m"}, 1, 1)
		case 3:
			lease, leaseErr := g.o.Redis.TryLease(ctx, "k")
			if err = leaseErr; err == nil {
				err = lease.Release(ctx)
			}
		}
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			t.Fatal("it hangs")
		}
	})
}
