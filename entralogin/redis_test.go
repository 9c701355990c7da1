package entralogin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/entralogin"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// realm is Redis as Azure guards it: a token logs in, and Redis cuts the connections whose token has ended. A real
// server knows no token's end, so here each token has a user of its own, and its end is the user's: ACL DELUSER cuts
// every connection that is still logged in as that user.
type realm struct {
	t       *testing.T
	servers []*redistest.Server
	life    func(n int) time.Duration // nth token's, from 1
	keep    int                       // so many tokens log in, the newest included
	came    chan int                  // gets n when the nth token logs in

	mu sync.Mutex
	n  int
}

func (r *realm) user(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func (r *realm) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	secret := token(r.t, r.user(r.n), r.n)
	for _, s := range r.servers {
		s.AddUser(r.user(r.n), secret, "~* &* +@all")
		if gone := r.n - r.keep; gone > 0 {
			s.Do("ACL", "DELUSER", r.user(gone))
		}
	}
	select {
	case r.came <- r.n:
	default:
	}
	now := time.Now()
	life := r.life(r.n)
	return azcore.AccessToken{Token: secret, ExpiresOn: now.Add(life), RefreshOn: now.Add(life / 3)}, nil
}

// newRealm closes the servers to everyone else. The first token lives for three seconds and is due after one; the
// others live long.
func newRealm(t *testing.T, servers ...*redistest.Server) *realm {
	for _, s := range servers {
		s.AddUser("admin", "admin", "~* &* +@all")
	}
	return &realm{t: t, servers: servers, keep: 2, came: make(chan int, 100), life: func(n int) time.Duration {
		if n == 1 {
			return 3 * time.Second
		}
		return time.Hour
	}}
}

// await waits for the nth token.
func (r *realm) await(n int) {
	r.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case got := <-r.came:
			if got >= n {
				return
			}
		case <-limit:
			r.t.Fatalf("token %d was not asked for", n)
		}
	}
}

func (r *realm) dial(url string) redis.UniversalClient {
	r.t.Helper()
	client, err := connect.Dial(r.t.Context(), url, &connect.Options{Credentials: login(r.t, r)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { client.Close() })
	return client
}

// who asks each server of a client by whom and by which connection it is asked.
func who(t *testing.T, client redis.UniversalClient) (users map[string]string, ids map[string]int64) {
	t.Helper()
	users, ids = map[string]string{}, map[string]int64{}
	var mu sync.Mutex
	ask := func(ctx context.Context, c *redis.Client) error {
		info, err := c.ClientInfo(ctx).Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		users[c.Options().Addr], ids[c.Options().Addr] = info.User, info.ID
		return nil
	}
	var err error
	switch c := client.(type) {
	case *redis.Client:
		err = ask(t.Context(), c)
	case *redis.ClusterClient:
		err = c.ForEachMaster(t.Context(), ask)
	}
	if err != nil {
		t.Error(err)
	}
	return users, ids
}

func all(users map[string]string, want string) bool {
	for _, u := range users {
		if u != want {
			return false
		}
	}
	return len(users) > 0
}

// outlives waits until the connections that were there before are logged in with the nth token.
func (r *realm) outlives(client redis.UniversalClient, before map[string]int64, n int) {
	r.t.Helper()
	missing := maps.Clone(before)
	limit := time.Now().Add(20 * time.Second)
	for len(missing) > 0 && !r.t.Failed() {
		if time.Now().After(limit) {
			r.t.Fatalf("the connections %v are not logged in with token %d", missing, n)
		}
		users, ids := who(r.t, client)
		for addr, id := range ids {
			if id == before[addr] && users[addr] == r.user(n) {
				delete(missing, addr)
			}
		}
	}
}

// On a single server and on a cluster: connections log in with a token; when it is due they log in again, on the same
// connections; when it has ended nothing breaks; and a connection that was cut logs in with the new one.
func TestConnectionsLogInAgain(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (url string, servers []*redistest.Server){
		"one server": func(t *testing.T) (string, []*redistest.Server) {
			s := redistest.Start(t)
			return "redis://" + s.Addr() + "?", []*redistest.Server{s}
		},
		"cluster": func(t *testing.T) (string, []*redistest.Server) {
			c := redistest.StartCluster(t)
			return "redis://" + strings.Join(c.Addrs(), ",") + "?", c.Nodes
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, servers := start(t)
			r := newRealm(t, servers...)
			// each connection has its turn: go-redis logs one in anew when it is put back
			client := r.dial(url + "pool_fifo=true")
			users, before := who(t, client)
			if !all(users, r.user(1)) {
				t.Fatalf("logged in as %v", users)
			}
			r.await(2)
			r.outlives(client, before, 2)
			for _, s := range servers {
				s.Do("ACL", "DELUSER", r.user(1)) // the first token's end
			}
			r.outlives(client, before, 2)
			for _, s := range servers {
				s.Do("CLIENT", "KILL", "USER", r.user(2))
			}
			for i := range 30 { // slots of every node
				if err := client.Set(t.Context(), fmt.Sprint(redistest.Prefix(t), i), "v", time.Minute).Err(); err != nil {
					t.Fatalf("after the connections were cut: %v", err)
				}
			}
			if users, _ := who(t, client); !all(users, r.user(2)) {
				t.Errorf("logged in as %v", users)
			}
		})
	}
}

// One user whose password rotates: when the old one is gone from the server, new connections use the new one.
func TestPasswordThatRotates(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	set := func(password string) {
		s.Do("ACL", "SETUSER", principal, "on", "resetpass", ">"+password, "~*", "&*", "+@all")
	}
	rotated := make(chan struct{})
	cred := &credential{answer: func(_ context.Context, n int) (azcore.AccessToken, error) {
		set(token(t, principal, n)) // and no other
		if n == 2 {
			defer close(rotated)
		}
		life := time.Hour
		if n == 1 {
			life = 2 * time.Second
		}
		return azcore.AccessToken{Token: token(t, principal, n), ExpiresOn: time.Now().Add(life)}, nil
	}}
	client, err := connect.Dial(t.Context(), "redis://"+s.Addr(), &connect.Options{Credentials: login(t, cred)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	select {
	case <-rotated:
	case <-time.After(20 * time.Second):
		t.Fatal("not renewed")
	}
	old := s.ClientAs(principal, token(t, principal, 1))
	if err := old.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Fatalf("the old password still logs in: %v", err)
	}
	s.Do("CLIENT", "KILL", "USER", principal)
	limit := time.Now().Add(20 * time.Second)
	for client.Ping(t.Context()).Err() != nil { // between the server's new password and go-redis's hearing of it
		if time.Now().After(limit) {
			t.Fatal(client.Ping(t.Context()).Err())
		}
	}
	if n := cred.requests(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

const clientID = "6731de76-14a6-49ae-97bc-6eba6914391e"

func newEntra(t *testing.T) *entratest.Server {
	t.Helper()
	entra, err := entratest.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { entra.Close() })
	entra.AddApp(entratest.App{ClientID: clientID, Secret: "s3cret"})
	return entra
}

func newCache(t *testing.T, client redis.UniversalClient, o msalredis.Options) *msalredis.Cache {
	t.Helper()
	key, err := serializer.GenerateKey("test")
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := msalredis.New(client, sealer, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

// The cache works on through three more logins: nobody gets an error, Redis never counts as away, and the token is in
// Redis at the end.
func TestCacheGoesOnThroughLogins(t *testing.T) {
	t.Parallel()
	r := newRealm(t, redistest.Start(t))
	r.life = func(int) time.Duration { return 3 * time.Second } // due after one; cut after two or more
	client := r.dial("redis://" + r.servers[0].Addr())
	var records lockedBuffer
	cache := newCache(t, client, msalredis.Options{Logger: slog.New(slog.NewTextHandler(&records, nil)),
		LocalTTL: time.Millisecond})
	entra := newEntra(t)
	cred, err := confidential.NewCredFromSecret("s3cret")
	if err != nil {
		t.Fatal(err)
	}
	app, err := confidential.New(entra.Authority("contoso.onmicrosoft.com"), clientID, cred, confidential.WithCache(cache),
		confidential.WithHTTPClient(&http.Client{Transport: cache.Transport(entra.Transport())}))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); r.await(4) }()
	for n, ended := 0, false; !ended; n++ {
		select {
		case <-done:
			ended = true
		default:
		}
		if _, err := app.AcquireTokenByCredential(t.Context(), []string{fmt.Sprintf("api://%d/.default", n%7)}); err != nil {
			t.Fatal(err)
		}
	}
	if t.Failed() {
		return
	}
	if n := entra.Count(entratest.ByGrant("client_credentials")); n != 7 {
		t.Errorf("%d token requests for 7 tokens", n)
	}
	if text := records.String(); text != "" {
		t.Errorf("the cache noticed: %s", text)
	}
}

// A credential that looks for its token in the Redis that the token opens gets an error that says so, at once: by the
// gate, and by the accessor.
func TestCredentialOverTheSameRedis(t *testing.T) {
	t.Parallel()
	for name, over := range map[string]func(*testing.T, *entratest.Server, *msalredis.Cache) azcore.TokenCredential{
		"gate": func(t *testing.T, entra *entratest.Server, cache *msalredis.Cache) azcore.TokenCredential {
			cred, err := azidentity.NewClientSecretCredential("contoso.onmicrosoft.com", clientID, "s3cret",
				&azidentity.ClientSecretCredentialOptions{
					ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: cache.Transport(entra.Transport())}}})
			if err != nil {
				t.Fatal(err)
			}
			return cred
		},
		"accessor": func(t *testing.T, entra *entratest.Server, cache *msalredis.Cache) azcore.TokenCredential {
			secret, err := confidential.NewCredFromSecret("s3cret")
			if err != nil {
				t.Fatal(err)
			}
			cred, err := azcred.New(entra.Authority("contoso.onmicrosoft.com"), clientID, secret, cache,
				&azcred.Options{MSAL: []confidential.Option{confidential.WithHTTPClient(entra.HTTPClient())}})
			if err != nil {
				t.Fatal(err)
			}
			return cred
		},
	} {
		t.Run(name, func(t *testing.T) {
			entra := newEntra(t)
			cred := make(chan azcore.TokenCredential, 1)
			l := login(t, tokens(func(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
				c := <-cred
				cred <- c
				return c.GetToken(ctx, o)
			}))
			client, err := connect.Open("redis://"+redistest.Start(t).Addr(), &connect.Options{Credentials: l})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			cred <- over(t, entra, newCache(t, client, msalredis.Options{Logger: slog.New(slog.DiscardHandler)}))
			begun := time.Now()
			err = client.Ping(t.Context()).Err()
			if !errors.Is(err, entralogin.ErrNoToken) || !strings.Contains(err.Error(), "credential of its own") ||
				time.Since(begun) > entralogin.Wait/2 {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
			if n := entra.Count(); n > 1 { // one where MSAL heard of it from the accessor too late
				t.Errorf("%d token requests", n)
			}
		})
	}
}

// What connect.Dial says of a login that fails, and that its context ends the wait for a credential that hangs.
func TestDialSaysWhatIsWrongWithTheLogin(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.AddUser(principal, "another password", "~* &* +@all")
	hang := make(chan struct{})
	defer close(hang)
	for _, c := range []struct {
		want string
		cred tokens
	}{
		{"data access policy", func(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
			return azcore.AccessToken{Token: token(t, principal, 1), ExpiresOn: time.Now().Add(time.Hour)}, nil
		}},
		{"AADSTS700016", func(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
			return azcore.AccessToken{}, errors.New("AADSTS700016: no such application")
		}},
		{"no login yet", func(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
			<-hang
			return azcore.AccessToken{}, errors.New("the test is over")
		}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		begun := time.Now()
		_, err := connect.Dial(ctx, "redis://"+s.Addr(), &connect.Options{Credentials: login(t, c.cred)})
		cancel()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), token(t, principal, 1)) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if d := time.Since(begun); d > entralogin.Wait/2 {
			t.Errorf("%q after %v", c.want, d)
		}
	}
	if _, err := connect.Dial(t.Context(), "redis://"+s.Addr()+"?master_name=p",
		&connect.Options{Credentials: login(t, lasting(t, time.Hour))}); !errors.Is(err, connect.ErrURL) {
		t.Errorf("with Sentinel: %v", err)
	}
}

type tokens func(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error)

func (f tokens) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return f(ctx, o)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }
