package soak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredis/clientpool"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const (
	workerRole   = "soak worker"
	clientID     = "11111111-aaaa-4bbb-8ccc-000000000001"
	clientSecret = "the-client's-secret"
	redirectURI  = "http://localhost:5000/signin"
	authority    = "https://login.microsoftonline.com/" + entratest.DefaultTenant
	tenants      = 50
	callers      = 8
)

var scopes = [][]string{{"https://graph.microsoft.com/User.Read"}, {"https://graph.microsoft.com/Mail.Read"}}

func username(i int) string { return fmt.Sprintf("user%d@contoso.com", i) }

// load is what the worker is to do.
type load struct {
	Redis, Entra, CA, Keys, Prefix string
	Users, Clients                 int
	LocalBytes                     int64
	Duration                       time.Duration
	Every                          time.Duration // between samples
	Pause                          time.Duration // between two calls, on average; 0: none
	Assertions                     int64         // on behalf of how many users it acts at least
	AssertionPause                 time.Duration // between two of them, on average
}

// outcome is what came of it.
type outcome struct {
	Calls, Failed, Assertions int64
	Error                     string // the first
	Left                      string // goroutines that Close left behind
}

// said is what the worker tells: that all have signed in, then samples, then the end.
type said struct {
	Begun  bool
	Sample *sample
	End    *outcome
}

type parent = subprocess.Parent[string, said]

// work is the main of the process that is measured: one Cache, one MSAL client for each of the users that the pool has
// room for, one for 50 tenants' app tokens, one that acts on behalf of users. Its orders are the assertions.
func work() int {
	return subprocess.Serve(func(p *parent, l load) (func(), error) {
		before := goleak.IgnoreCurrent()
		return func() {
			o, err := l.run(p)
			if left := goleak.Find(before); err == nil && left != nil {
				o.Left = left.Error()
			}
			if err == nil {
				err = p.Tell(said{End: &o})
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "soak worker:", err)
				os.Exit(1)
			}
		}, nil
	})
}

func (l load) run(p *parent) (o outcome, err error) {
	keys, err := serializer.ParseKeys(l.Keys)
	if err != nil {
		return o, err
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return o, err
	}
	base, err := entratest.Transport(l.Entra, []byte(l.CA))
	if err != nil {
		return o, err
	}
	defer base.CloseIdleConnections()
	rdb := redis.NewClient(&redis.Options{Addr: l.Redis})
	defer rdb.Close()
	tokens, err := msalredis.New(rdb, sealer, &msalredis.Options{
		Prefix: l.Prefix, LocalBytes: l.LocalBytes,
		OpTimeout: 10 * time.Second, LockTTL: time.Minute, // a starved machine is no Redis that is away
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return o, err
	}
	defer tokens.Close() // first: what is under way uses the others
	gate := &http.Client{Transport: tokens.Transport(base)}
	cred, err := confidential.NewCredFromSecret(clientSecret)
	if err != nil {
		return o, err
	}
	client := func(string) (confidential.Client, error) {
		return confidential.New(authority, clientID, cred, confidential.WithCache(tokens), confidential.WithHTTPClient(gate))
	}
	app, err := client("")
	if err != nil {
		return o, err
	}
	behalf, err := client("")
	if err != nil {
		return o, err
	}
	pool, err := clientpool.New(l.Clients, client)
	if err != nil {
		return o, err
	}
	browser := &http.Client{Transport: base,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

	var calls, failed, asserted atomic.Int64
	var first atomic.Pointer[string]
	count := func(err error) {
		calls.Add(1)
		if err != nil {
			failed.Add(1)
			text := err.Error()
			first.CompareAndSwap(nil, &text)
		}
	}
	ctx := context.Background()

	// Everybody signs in.
	accounts := make([]string, l.Users)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(l.Users); i = next.Add(1) - 1 {
				var err error
				accounts[i], err = signIn(ctx, pool, browser, username(int(i)))
				count(err)
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 {
		return o, fmt.Errorf("%d of %d sign-ins failed, the first with: %s", failed.Load(), l.Users, *first.Load())
	}

	begin := time.Now()
	if err := p.Tell(said{Begun: true}); err != nil {
		return o, err
	}
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	for range callers {
		wg.Go(func() {
			for life.Err() == nil {
				if rand.IntN(8) == 0 {
					tenant := fmt.Sprintf("%08d-1111-4000-8000-00000000000b", rand.IntN(tenants))
					_, err := app.AcquireTokenByCredential(ctx, []string{"https://graph.microsoft.com/.default"},
						confidential.WithTenantID(tenant))
					count(err)
				} else {
					count(silent(ctx, pool, rand.IntN(l.Users), accounts))
				}
				pause(life, l.Pause*callers)
			}
		})
	}
	wg.Go(func() {
		for life.Err() == nil {
			assertion, more := <-p.Orders
			if !more {
				count(errors.New("no assertions are left"))
				return
			}
			_, err := behalf.AcquireTokenOnBehalfOf(ctx, assertion, scopes[0])
			count(err)
			asserted.Add(1)
			pause(life, l.AssertionPause)
		}
	})
	tick := time.NewTicker(l.Every)
	defer tick.Stop()
	for time.Since(begin) < l.Duration || asserted.Load() < l.Assertions && failed.Load() == 0 {
		<-tick.C
		s, err := take()
		if err != nil {
			return o, err
		}
		s.At, s.Calls, s.Assertions = time.Since(begin), calls.Load(), asserted.Load()
		if err := p.Tell(said{Sample: &s}); err != nil {
			return o, err
		}
	}
	cancel()
	wg.Wait()
	o = outcome{Calls: calls.Load(), Failed: failed.Load(), Assertions: asserted.Load()}
	if p := first.Load(); p != nil {
		o.Error = *p
	}
	return o, nil
}

// signIn is a web app's sign-in of a user, who has a browser.
func signIn(
	ctx context.Context, pool *clientpool.Pool[confidential.Client], browser *http.Client, user string,
) (homeAccountID string, err error) {
	one, err := pool.Get(user)
	if err != nil {
		return "", err
	}
	link, err := one.AuthCodeURL(ctx, clientID, redirectURI, scopes[0], confidential.WithLoginHint(user))
	if err != nil {
		return "", err
	}
	resp, err := browser.Get(link + "&response_mode=query")
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		return "", err
	}
	r, err := one.AcquireTokenByAuthCode(ctx, back.Query().Get("code"), redirectURI, scopes[0])
	return r.Account.HomeAccountID, err
}

// silent is a web app's call for a user.
func silent(ctx context.Context, pool *clientpool.Pool[confidential.Client], i int, accounts []string) error {
	one, err := pool.Get(username(i))
	if err != nil {
		return err
	}
	account, err := one.Account(ctx, accounts[i])
	if err != nil {
		return err
	}
	_, err = one.AcquireTokenSilent(ctx, scopes[rand.IntN(len(scopes))], confidential.WithSilentAccount(account))
	return err
}

// pause waits for about d.
func pause(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
