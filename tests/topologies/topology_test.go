package topologies_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/lock"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// On every kind of Redis: tokens are shared and rotated, a stampede is one request whose answer wakes those who wait, a
// sign-out holds everywhere and leaves nothing, every key expires.
func TestEveryTopology(t *testing.T) {
	for name, start := range harness.Topologies {
		if harness.Topology != "standalone" && harness.Topology != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			w := harness.WorldOn(t, d)
			life(w, t)
			if d.PasswordFile == "" {
				return
			}
			first, _ := os.ReadFile(d.PasswordFile)
			harness.Eventually(t, "another password", func() bool {
				now, _ := os.ReadFile(d.PasswordFile)
				return !bytes.Equal(now, first)
			})
			harness.Must(t)(w.Instance().App().AcquireTokenByCredential(context.Background(), []string{harness.GraphScope}))
			w.NoRefusals(t)
		})
	}
}

// unpolled is a LockTTL with which those who wait for another's answer look for it every 15 to 30 s (lease.go): an
// answer that comes within promptly has come by a wake-up.
const (
	unpolled = 5 * time.Minute
	promptly = 10 * time.Second
)

func unpolling(o *msalredis.Options) { o.LockTTL = unpolled }

// life is what the library does, by two instances.
func life(w *harness.World, t *testing.T) {
	ctx := context.Background()
	w.Rotating()
	users := w.AddUsers(3)
	u, stays := users[0], users[1]
	a, b := w.Instance(unpolling), w.Instance(unpolling)
	apps := []confidential.Client{a.App(), b.App()}

	// An app's token.
	token := harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	if harness.Must(t)(apps[1].AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != token {
		t.Error("app: the second instance has another token")
	}
	w.Count(t, 1, "app")

	// A stampede on two instances: one request, and those who wait for the other instance are woken.
	d := w.Door(entratest.ByScope(harness.DynamicsScope))
	outs := harness.StartCalls(32, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})
	})
	d.Wait(t)
	harness.InGate(t, 32)
	w.LeaseWaiters(t, 1)
	opened := time.Now()
	d.Open()
	harness.OneToken(t, harness.CollectCalls(t, 32, outs))
	if took := time.Since(opened); took > promptly {
		t.Errorf("stampede: the last caller had its answer %v after it came: nobody was woken", took)
	}
	w.Count(t, 1, "stampede", entratest.ByScope(harness.DynamicsScope))

	// A user who stays, a public client's user, and then the one who goes.
	a.SignIn(apps[0], stays)
	public := a.Public()
	harness.PublicSignIn(t, w, public, users[2])
	if accounts, err := b.Public().Accounts(ctx); err != nil || len(accounts) == 0 {
		t.Errorf("public: %d accounts on the second instance: %v", len(accounts), err)
	}
	before := w.KeysOf()
	w.Entra.ResetRequests()
	token = a.SignIn(apps[0], u).AccessToken
	if harness.Must(t)(harness.Silent(ctx, apps[1], u.HomeAccountID())) != token {
		t.Error("user: the second instance has another token")
	}
	w.Count(t, 1, "sign-in and silent call")
	vault := harness.Must(t)(harness.Silent(ctx, apps[1], u.HomeAccountID(), harness.VaultScope))
	harness.Must(t)(harness.Silent(ctx, apps[0], u.HomeAccountID(), harness.CrmScope))
	if harness.Must(t)(harness.Silent(ctx, apps[0], u.HomeAccountID(), harness.VaultScope)) != vault {
		t.Error("user: the first instance has another token than the second one's refresh brought")
	}
	if got := w.Generations(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("user: refresh tokens of generations %v were redeemed, want 1 and 2", got)
	}

	// On behalf of.
	assertion := w.Assertion(t, u)
	token = harness.Must(t)(apps[0].AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.CalendarScope}))
	if harness.Must(t)(apps[1].AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.CalendarScope})) != token {
		t.Error("on-behalf-of: the second instance has another token")
	}
	w.Count(t, 1, "on-behalf-of", entratest.ByGrant(harness.OboGrant))
	w.NoRefusals(t)
	ofUser := slices.DeleteFunc(w.KeysOf(), func(k string) bool { return slices.Contains(before, k) })
	if len(ofUser) < 3 {
		t.Errorf("the user has %d keys: what follows shows little", len(ofUser))
	}
	expiring(w, t)

	// Signing out.
	w.Listening(t, 2)
	if err := b.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	for n, app := range apps {
		harness.Eventually(t, fmt.Sprintf("instance %d is signed out", n), func() bool {
			for _, scope := range []string{harness.UserScope, harness.MailScope, harness.FilesScope} {
				if _, err := harness.Silent(ctx, app, u.HomeAccountID(), scope); err == nil {
					return false
				}
			}
			return true
		})
	}
	tombstones := 0
	for _, k := range w.KeysOf() {
		switch {
		case strings.HasSuffix(k, ":tombstone"):
			tombstones++
		case slices.Contains(ofUser, k) && !strings.HasSuffix(k, "{accounts}:list"):
			t.Errorf("left of the user: %s", k[strings.LastIndex(k, "}"):])
		}
	}
	if tombstones == 0 {
		t.Error("a sign-out left no tombstone")
	}
	for _, app := range apps {
		harness.Must(t)(harness.Silent(ctx, app, stays.HomeAccountID()))
	}

	// Forgetting an app's tokens: one scope, then all.
	w.Entra.ResetRequests()
	for n, scopes := range [][]string{{harness.GraphScope}, nil} {
		token = harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
		if err := a.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, scopes...); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the second instance asks anew", func() bool {
			return harness.Must(t)(apps[1].AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != token
		})
		if harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == token {
			t.Error("the instance that forgot has the old token")
		}
		w.Count(t, n+1, "forgotten", entratest.ByScope(harness.GraphScope))
	}
	expiring(w, t)
}

// expiring checks that every key has a TTL, and that there are none but the library's.
func expiring(w *harness.World, t *testing.T) {
	t.Helper()
	ctx := context.Background()
	keys, err := w.Redis.Keys(ctx, "*")
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) == 0 {
		t.Error("no key at all: this shows nothing")
	}
	for _, k := range keys {
		if !strings.HasPrefix(k, w.Prefix+":v1:{") {
			t.Errorf("a key without prefix: %s", k)
		}
		if ttl := w.Redis.Admin.PTTL(ctx, k).Val(); ttl == -1 {
			t.Errorf("%s has no TTL", k[strings.LastIndexByte(k, ':'):])
		}
	}
}

// While Sentinel fails over, planned or because the primary has died, callers go on getting tokens without an error;
// after it tokens are shared as before, and none of the user's is lost.
func TestSentinelFailoverTokensGoOn(t *testing.T) {
	harness.OnlyStandalone(t)
	for name, failover := range map[string]func(r *redistest.Replicated){
		"planned": func(r *redistest.Replicated) { r.Failover() },
		"primary killed": func(r *redistest.Replicated) {
			r.Primary.Kill()
			r.WaitForPromotion()
			r.Primary = r.Replica
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			r := redistest.StartReplicated(t)
			s := harness.WorldOn(t, harness.Replicated(t, r))
			s.Rotating()
			u := s.AddUsers(1)[0]
			a, b := s.Instance(unpolling), s.Instance(unpolling)
			apps := []confidential.Client{a.App(), b.App()}
			a.SignIn(apps[0], u)
			// its refresh token is the second one
			mail := harness.Must(t)(harness.Silent(ctx, apps[0], u.HomeAccountID(), harness.MailScope))
			token := harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
			harness.Must(t)(apps[1].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
			// Acknowledged by the replica: what is lost otherwise is Redis's to lose. WAIT is about the writes of its own
			// connection (https://redis.io/docs/latest/commands/wait/), and a replica takes all in their order.
			one := r.Primary.Client().Conn()
			defer one.Close()
			if err := one.Set(ctx, s.Prefix+":replicated", "", time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
			if n, err := one.Wait(ctx, 1, 20*time.Second).Result(); err != nil || n != 1 {
				t.Fatalf("%d replicas: %v", n, err)
			}

			var over atomic.Bool
			var wg sync.WaitGroup
			var calls [2]atomic.Int64
			for n, app := range apps {
				wg.Go(func() {
					for i := 0; !over.Load(); i++ {
						_, err1 := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
						_, err2 := harness.Silent(ctx, app, u.HomeAccountID())
						// One that nobody has, now and then.
						var err3 error
						if i%50 == 0 {
							_, err3 = app.AcquireTokenByCredential(ctx, []string{fmt.Sprintf("https://s%d-%d.example.com/.default", n, i)})
						}
						for _, err := range []error{err1, err2, err3} {
							if err != nil {
								t.Errorf("instance %d: %v", n, err)
								return
							}
						}
						calls[n].Add(1)
					}
				})
			}
			harness.Eventually(t, "calls before", func() bool { return calls[0].Load() > 10 && calls[1].Load() > 10 })
			failover(r)
			during := calls[0].Load()
			harness.Eventually(t, "calls after", func() bool { return calls[0].Load() > during+10 })
			over.Store(true)
			wg.Wait()

			// Shared again: an instance that knows nothing finds what another one stored after the failover.
			scope := 0
			harness.Eventually(t, "tokens are shared again", func() bool {
				scope++
				name := []string{fmt.Sprintf("https://after%d.example.com/.default", scope)}
				return harness.Must(t)(apps[0].AcquireTokenByCredential(ctx, name)) ==
					harness.Must(t)(apps[1].AcquireTokenByCredential(ctx, name))
			})
			s.Entra.ResetRequests()
			fresh := s.Instance(unpolling).App()
			if harness.Must(t)(fresh.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != token {
				t.Error("the app's token is another")
			}
			if harness.Must(t)(harness.Silent(ctx, fresh, u.HomeAccountID(), harness.MailScope)) != mail {
				t.Error("the user's token is another")
			}
			s.Count(t, 0, "what was there before")
			harness.Must(t)(harness.Silent(ctx, fresh, u.HomeAccountID(), harness.FilesScope))
			if got := s.Generations(); !slices.Equal(got, []int{2}) {
				t.Errorf("generations %v were redeemed, want 2", got)
			}
			s.NoRefusals(t)
		})
	}
}

// New warns of a cluster client that ignores context deadlines, in the documented words, and of no other.
func TestClusterClientWithoutContextTimeoutIsWarnedOf(t *testing.T) {
	_, warning, _ := strings.Cut(harness.ReadFile(t, "docs/redis.md"), "\n    msalredis: ")
	warning, _, _ = strings.Cut(warning, "\n")
	if warning == "" {
		t.Fatal("docs/redis.md quotes no warning")
	}
	for _, enabled := range []bool{true, false} {
		log := &harness.Journal{}
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: enabled})
		defer rdb.Close()
		o := harness.Options("t")
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
		c, err := msalredis.New(rdb, harness.NewSealer(t, harness.GeneratedKey(t, "k1")), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		warned := strings.Contains(log.String(), "msalredis: "+warning)
		if warned == enabled || enabled && log.String() != "" {
			t.Errorf("ContextTimeoutEnabled %v: the log says %q", enabled, log)
		}
	}
}

// allowIdentity allows what go-redis sends of itself, to servers that know it.
func allowIdentity(s *redistest.Server) {
	for _, command := range []string{"+client|setinfo", "+client|maint_notifications"} {
		_ = s.Client().Do(context.Background(), "ACL", "SETUSER", harness.LimitedUser, command).Err()
	}
}

// With the documented rule nothing is refused, what is seldom done included: what go-redis does with a subscription
// when there is nothing to do. A full life may end before that.
func TestACLRuleIsEnough(t *testing.T) {
	harness.OnlyStandalone(t)
	s := redistest.Start(t)
	s.AddUser(harness.LimitedUser, harness.LimitedPassword, harness.AclRule(t, "acl"))
	allowIdentity(s)
	s.Do("CONFIG", "RESETSTAT") // redistest has sent its PING to see that the server is up
	w := harness.WorldOn(t, nil)
	exercise(w, "msal", s.ClientAs(harness.LimitedUser, harness.LimitedPassword), w.AddUsers(1)[0])
	for _, seldom := range []string{"ping", "unsubscribe"} {
		harness.Eventually(t, seldom, func() bool { // refused or not, it is among what was asked for
			stats, err := s.Client().InfoMap(context.Background(), "commandstats").Result()
			if err != nil {
				t.Fatal(err)
			}
			return stats["Commandstats"]["cmdstat_"+seldom] != ""
		})
	}
	harness.NoRefusedCommands(t, s)
}

// Without any one part of the documented rules Redis refuses something: they are as small as can be.
func TestACLRuleIsTheLeast(t *testing.T) {
	harness.OnlyStandalone(t)
	t.Run("standalone", func(t *testing.T) {
		s := redistest.Start(t)
		as := func(name string) redis.UniversalClient { return s.ClientAs(name, harness.LimitedPassword) }
		neededParts(t, harness.AclRule(t, "acl"), "", as, s)
	})
	t.Run("cluster", func(t *testing.T) {
		c := redistest.StartCluster(t)
		as := func(name string) redis.UniversalClient { return clusterClientAs(t, c, name) }
		neededParts(t, harness.AclRule(t, "acl-cluster"), harness.AclRule(t, "acl"), as, c.Nodes...)
	})
}

// neededParts leaves out each part of rule in turn, besides what is always allowed, and looks for what Redis refuses.
func neededParts(t *testing.T, rule, always string, client func(user string) redis.UniversalClient,
	servers ...*redistest.Server) {
	w := harness.WorldOn(t, nil)
	u := w.AddUsers(1)[0]
	var parts []string
	for _, part := range redistest.Rules(rule) {
		if strings.ContainsRune("+~&", rune(part[0])) { // with the others a user begins
			parts = append(parts, part)
		}
	}
	for _, s := range servers {
		s.Do("CONFIG", "SET", "acllog-max-len", 10_000)
		for _, part := range parts {
			left := slices.DeleteFunc(strings.Fields(rule), func(p string) bool { return p == part })
			s.AddUser("without"+part, harness.LimitedPassword, always+" "+strings.Join(left, " "))
		}
	}
	try := func(part string) { exercise(w, "msal:"+part, client("without"+part), u) }
	if i := slices.Index(parts, "+eval"); i >= 0 {
		// First, while the server knows no script, and alone: the others' EVAL makes them known.
		try(parts[i])
	}
	slots := make(chan struct{}, 4)
	_ = harness.Parallel(len(parts), func(i int) error {
		slots <- struct{}{}
		defer func() { <-slots }()
		if parts[i] != "+eval" {
			try(parts[i])
		}
		return nil
	})
	for _, part := range parts {
		// PING and UNSUBSCRIBE come when a connection has had nothing to do for a while.
		harness.Eventually(t, "a refusal without "+part, func() bool {
			return slices.ContainsFunc(servers, func(s *redistest.Server) bool {
				return slices.ContainsFunc(harness.Refusals(t, s.Client()), func(e *redis.ACLLogEntry) bool {
					if e.Username != "without"+part {
						return false
					}
					switch part[0] {
					case '~':
						return e.Reason == "key"
					case '&':
						return e.Reason == "channel"
					default:
						// Before Redis 7.0 a subcommand is logged as its command.
						return e.Reason == "command" && strings.HasPrefix(part[1:]+"|", e.Object+"|")
					}
				})
			})
		})
	}
}

func clusterClientAs(t *testing.T, c *redistest.Cluster, user string) *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), Username: user,
		Password: harness.LimitedPassword, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// exercise does everything once, whatever Redis refuses.
func exercise(w *harness.World, prefix string, rdb redis.UniversalClient, u entratest.User) {
	ctx := context.Background()
	i := w.InstanceOn(rdb, w.Sealer(w.Keys), harness.Options(prefix))
	app := i.App()
	_, _ = app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	if link, err := app.AuthCodeURL(ctx, harness.ClientID, harness.RedirectURI, []string{harness.UserScope}); err == nil {
		if code, err := w.Entra.AuthorizeCode(link, u.Username); err == nil {
			_, _ = app.AcquireTokenByAuthCode(ctx, code, harness.RedirectURI, []string{harness.UserScope})
		}
	}
	_, _ = harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)
	_, _ = i.Public().Accounts(ctx)
	harness.Canary.SawError(i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, harness.GraphScope))
	harness.Canary.SawError(i.Tokens.RemoveAccount(ctx, u.HomeAccountID()))

	// A lease that another waits for.
	key := prefix + ":v1:{lease}:lock"
	locker := lock.New(rdb, nil)
	w.T.Cleanup(func() { _ = locker.Close() })
	if lease, err := locker.TryAcquire(ctx, key); err == nil {
		_, _ = locker.TryAcquire(ctx, key)
		_ = lease.Release(ctx)
	}
	if s, err := locker.Subscribe(ctx, key); err == nil {
		s.Close()
	}
}
