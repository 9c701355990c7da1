package msalredis_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// shape is a Redis as a service meets it.
type shape struct {
	client func() redis.UniversalClient
	admin  []*redis.Client // of every server that holds keys
}

// aclRule is the rule that docs/redis.md tells users to give.
func aclRule(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)ACL SETUSER \S+ on >\S+ (.*?)\n\n`).FindSubmatch(text)
	if m == nil {
		t.Fatal("docs/redis.md has no ACL rule")
	}
	return strings.Fields(strings.ReplaceAll(string(m[1]), "\\\n", " "))
}

// forPrefix is a rule for the keys of a test.
func forPrefix(rules []string, prefix string) string {
	out := slices.Clone(rules)
	for i, r := range out {
		if strings.HasPrefix(r, "~") || strings.HasPrefix(r, "&") {
			out[i] = r[:1] + prefix + ":*"
		}
	}
	return strings.Join(out, " ")
}

// Every shape of Redis in which the library is met leads the whole life of an app, a user and an on-behalf-of request.
func TestEveryTopology(t *testing.T) {
	for name, start := range map[string]func(*testing.T, string) shape{
		"standalone": func(t *testing.T, _ string) shape {
			s := redistest.Start(t)
			return shape{func() redis.UniversalClient { return s.Client() }, []*redis.Client{s.Client()}}
		},
		"RESP2": func(t *testing.T, _ string) shape {
			s := redistest.Start(t)
			return shape{func() redis.UniversalClient {
				o := s.Options()
				o.Protocol = 2
				rdb := redis.NewClient(o)
				t.Cleanup(func() { rdb.Close() })
				return rdb
			}, []*redis.Client{s.Client()}}
		},
		"cluster": func(t *testing.T, _ string) shape {
			c := redistest.StartCluster(t)
			s := shape{client: func() redis.UniversalClient { return c.Client() }}
			for _, n := range c.Nodes {
				s.admin = append(s.admin, n.Client())
			}
			return s
		},
		"Sentinel": func(t *testing.T, _ string) shape {
			r := redistest.StartReplicated(t)
			return shape{func() redis.UniversalClient { return r.FailoverClient() }, []*redis.Client{r.Primary.Client()}}
		},
		"TLS": func(t *testing.T, _ string) shape {
			s := redistest.StartTLS(t)
			return shape{func() redis.UniversalClient { return s.Client() }, []*redis.Client{s.Client()}}
		},
		"TLS with client certificates": func(t *testing.T, _ string) shape {
			s := redistest.StartTLS(t, redistest.ClientCertificate())
			return shape{func() redis.UniversalClient { return s.Client() }, []*redis.Client{s.Client()}}
		},
		"ACL": func(t *testing.T, prefix string) shape {
			s, admin, _ := redistest.StartACL(t, forPrefix(aclRule(t), prefix))
			t.Cleanup(func() {
				for _, refused := range aclLog(t, admin) {
					t.Errorf("the documented rule refuses what the library does: %s", refused)
				}
			})
			return shape{func() redis.UniversalClient { return s.ClientAs("limited", "limited-password") }, []*redis.Client{admin}}
		},
		"ACL on a cluster": func(t *testing.T, prefix string) shape {
			c := redistest.StartCluster(t)
			s := shape{client: func() redis.UniversalClient {
				rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), Username: "limited", Password: "password", ContextTimeoutEnabled: true})
				t.Cleanup(func() { rdb.Close() })
				return rdb
			}}
			for _, n := range c.Nodes {
				n.AddUser("limited", "password", forPrefix(aclRule(t), prefix)+" +cluster|slots +command")
				s.admin = append(s.admin, n.Client())
			}
			t.Cleanup(func() {
				for _, admin := range s.admin {
					for _, refused := range aclLog(t, admin) {
						t.Errorf("the documented rule refuses what the library does: %s", refused)
					}
				}
			})
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			wholeLife(t, w, start(t, w.prefix))
		})
	}
}

// wholeLife is all that the library does, on two instances.
func wholeLife(t *testing.T, w *world, s shape) {
	t.Helper()
	ctx := context.Background()
	w.rotating()
	u := w.addUsers(1)[0]
	a := w.instanceOn(s.client(), w.sealer(w.keys), options(w.prefix))
	b := w.instanceOn(s.client(), w.sealer(w.keys), options(w.prefix))
	appA, appB := a.app(), b.app()

	if must(t)(appA.AcquireTokenByCredential(ctx, []string{graph})) != must(t)(appB.AcquireTokenByCredential(ctx, []string{graph})) {
		t.Error("two instances have two tokens")
	}
	w.count(t, 1, "an app's token on two instances")
	d := w.door()
	outs := start(32, func(i int) (confidential.AuthResult, error) {
		return []confidential.Client{appA, appB}[i%2].AcquireTokenByCredential(ctx, []string{dynamics})
	})
	d.wait(t)
	inGate(t, 32)
	d.open()
	oneToken(t, collect(t, 32, outs))
	w.count(t, 2, "32 callers on two instances")

	before := s.keys(t, w.prefix)
	a.signIn(appA, u)
	must(t)(silent(ctx, appB, u.HomeAccountID()))
	w.count(t, 3, "a user's token on two instances")
	must(t)(silent(ctx, appB, u.HomeAccountID(), mailScope))
	must(t)(silent(ctx, appA, u.HomeAccountID(), filesScope))
	w.count(t, 2, "refreshes", entratest.ByGrant(refreshGrant))
	w.noRefusals(t)
	assertion := w.assertion(t, u)
	must(t)(appA.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope}))
	must(t)(appB.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope}))
	w.count(t, 1, "on behalf of, on two instances", entratest.ByGrant(oboGrant))

	for key, ttl := range s.keys(t, w.prefix) {
		if ttl <= 0 {
			t.Errorf("%s never expires", key[strings.LastIndex(key, "}"):])
		}
	}

	if err := a.tokens.ForgetAppTokens(ctx, clientID, tenant, graph); err != nil {
		t.Fatal(err)
	}
	w.entra.ResetRequests()
	eventually(t, "the other instance forgets the app's token", func() bool {
		must(t)(appB.AcquireTokenByCredential(ctx, []string{graph}))
		return w.entra.Count() == 1
	})
	must(t)(appB.AcquireTokenByCredential(ctx, []string{dynamics}))
	w.count(t, 1, "the token of another scope")

	if err := a.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	if _, err := silent(ctx, appA, u.HomeAccountID()); err == nil {
		t.Error("the instance of the sign-out still has a token")
	}
	eventually(t, "the other instance signs out", func() bool {
		_, err := silent(ctx, appB, u.HomeAccountID())
		return err != nil
	})
	for key := range s.keys(t, w.prefix) {
		if _, old := before[key]; !old && !strings.HasSuffix(key, ":tombstone") && !strings.HasSuffix(key, "{accounts}:list") {
			t.Errorf("left of the user: %s", key[strings.LastIndex(key, "}"):])
		}
	}
}

// keys are the keys in Redis with their lives.
func (s shape) keys(t *testing.T, prefix string) map[string]time.Duration {
	t.Helper()
	ctx := context.Background()
	found := map[string]time.Duration{}
	for _, rdb := range s.admin {
		keys, err := rdb.Keys(ctx, prefix+":*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if ttl := rdb.PTTL(ctx, k).Val(); ttl != -2 { // it has expired since
				found[k] = ttl
			}
		}
	}
	return found
}

// aclLog is what Redis has refused, by command or object.
func aclLog(t *testing.T, admin *redis.Client) []string {
	t.Helper()
	entries, err := admin.ACLLog(context.Background(), 100).Result()
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	for _, e := range entries {
		refused = append(refused, fmt.Sprintf("%s %s (%s)", e.Reason, e.Object, e.Context))
	}
	return refused
}

// The documented rule is the least there is: without any one of its permissions Redis refuses something.
func TestACLRuleIsTheLeast(t *testing.T) {
	rules := aclRule(t)
	var wg sync.WaitGroup
	limit := make(chan struct{}, 6)
	for i, rule := range rules {
		if !strings.HasPrefix(rule, "+") {
			continue
		}
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			t.Run(rule, func(t *testing.T) {
				w := newWorld(t)
				s, admin, _ := redistest.StartACL(t, forPrefix(slices.Delete(slices.Clone(rules), i, i+1), w.prefix))
				shortLife(w, func() redis.UniversalClient { return s.ClientAs("limited", "limited-password") })
				// The instances live on: a subscription that has been quiet for some seconds is tried by a PING.
				eventually(t, "something is refused without "+rule, func() bool { return len(aclLog(t, admin)) > 0 })
			})
		})
	}
	wg.Wait()
}

// shortLife does everything once, whatever comes of it.
func shortLife(w *world, client func() redis.UniversalClient) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	u := w.addUsers(1)[0]
	o := options(w.prefix)
	o.LockTTL = 300 * time.Millisecond // a lease is renewed while Entra ID takes its time
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 300 * time.Millisecond })
	a := w.instanceOn(client(), w.sealer(w.keys), o)
	b := w.instanceOn(client(), w.sealer(w.keys), o)
	appA, appB := a.app(), b.app()
	parallel(8, func(i int) error {
		_, err := []confidential.Client{appA, appB}[i%2].AcquireTokenByCredential(ctx, []string{graph})
		return err
	})
	a.signIn(appA, u)
	_, _ = silent(ctx, appA, u.HomeAccountID(), mailScope)
	_, _ = silent(ctx, appB, u.HomeAccountID(), filesScope)
	if assertion, err := w.entra.UserToken(clientID, u.Username, ""); err == nil {
		_, _ = appA.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope})
	}
	public := a.public()
	if link, err := public.AuthCodeURL(ctx, publicID, redirectURI, []string{userScope}); err == nil {
		if code, err := w.entra.AuthorizeCode(link, u.Username); err == nil {
			_, _ = public.AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope})
		}
	}
	_, _ = b.public().Accounts(ctx)
	// go-redis repeats a command whose answer was lost: an acquisition that has already succeeded.
	rdb := client()
	for range 2 {
		_, _ = redislock.New(rdb).Obtain(ctx, w.prefix+":v1:{twice}:lock", time.Second, &redislock.Options{Token: "the same token, each time"})
	}
	_ = a.tokens.ForgetAppTokens(ctx, clientID, tenant, graph)
	_ = a.tokens.RemoveAccount(ctx, u.HomeAccountID())
}

// Sentinel makes the replica the primary, in the middle: tokens go on, those that were there and new ones.
func TestSentinelFailoverTokensGoOn(t *testing.T) {
	r := redistest.StartReplicated(t)
	w := newWorld(t)
	ctx := context.Background()
	u := w.addUsers(1)[0]
	a := w.instanceOn(r.FailoverClient(), w.sealer(w.keys), options(w.prefix))
	app := a.app()
	a.signIn(app, u)
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	sent := w.entra.Count()
	// Replication is asynchronous, and a failover may lose the last writes: here it is to lose none.
	r.Primary.Do("SET", w.prefix+":marker", "x", "EX", "60")
	replica := r.Replica.Client()
	eventually(t, "the replica has it all", func() bool { return replica.Exists(ctx, w.prefix+":marker").Val() == 1 })
	r.Failover()
	fresh := w.instanceOn(r.FailoverClient(), w.sealer(w.keys), options(w.prefix)).app()
	must(t)(fresh.AcquireTokenByCredential(ctx, []string{graph}))
	w.count(t, sent, "an app's token that was there before the failover")
	must(t)(silent(ctx, fresh, u.HomeAccountID()))
	w.count(t, sent, "tokens that were there before the failover")
	must(t)(app.AcquireTokenByCredential(ctx, []string{dynamics}))
	eventually(t, "a token acquired after the failover, on another instance", func() bool {
		n := w.entra.Count()
		must(t)(w.instanceOn(r.FailoverClient(), w.sealer(w.keys), options(w.prefix)).app().AcquireTokenByCredential(ctx, []string{dynamics}))
		return w.entra.Count() == n
	})
}

// A cluster client that does not bound its reads by the context is told so, once.
func TestClusterClientWithoutContextTimeoutIsWarnedOf(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		var log bytes.Buffer
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: enabled})
		defer rdb.Close()
		o := &msalredis.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		w := newWorld(t)
		c, err := msalredis.New(rdb, w.sealer(w.keys), o)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if warned := strings.Contains(log.String(), "ContextTimeoutEnabled"); warned == enabled {
			t.Errorf("ContextTimeoutEnabled %v: a warning was given: %v", enabled, warned)
		}
	}
}
