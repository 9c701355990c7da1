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
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/lock"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// On every kind of Redis: tokens are shared and rotated, a stampede is one request whose answer wakes those who wait, a
// sign-out holds everywhere and leaves nothing, every key expires.
func TestEveryTopology(t *testing.T) {
	for name, start := range topologies {
		if *topology != "standalone" && *topology != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			w := worldOn(t, d)
			w.life(t)
			if d.PasswordFile == "" {
				return
			}
			first, _ := os.ReadFile(d.PasswordFile)
			eventually(t, "another password", func() bool {
				now, _ := os.ReadFile(d.PasswordFile)
				return !bytes.Equal(now, first)
			})
			must(t)(w.instance().app().AcquireTokenByCredential(context.Background(), []string{graph}))
			w.noRefusals(t)
		})
	}
}

// own starts a test that starts a Redis of its own shape: once is enough.
func own(t *testing.T) {
	t.Helper()
	if *topology != "standalone" {
		t.Skip("starts a Redis of its own, whatever the topology")
	}
}

// unpolled is a LockTTL with which those who wait for another's answer look for it every 15 to 30 s (leader.go): an
// answer that comes within promptly has come by a wake-up.
const (
	unpolled = 5 * time.Minute
	promptly = 10 * time.Second
)

func unpolling(o *msalredis.Options) { o.LockTTL = unpolled }

// life is what the library does, by two instances.
func (w *world) life(t *testing.T) {
	ctx := context.Background()
	w.rotating()
	users := w.addUsers(3)
	u, stays := users[0], users[1]
	a, b := w.instance(unpolling), w.instance(unpolling)
	apps := []confidential.Client{a.app(), b.app()}

	// An app's token.
	token := must(t)(apps[0].AcquireTokenByCredential(ctx, []string{graph}))
	if must(t)(apps[1].AcquireTokenByCredential(ctx, []string{graph})) != token {
		t.Error("app: the second instance has another token")
	}
	w.count(t, 1, "app")

	// A stampede on two instances: one request, and those who wait for the other instance are woken.
	d := w.door(entratest.ByScope(dynamics))
	outs := start(32, func(i int) (confidential.AuthResult, error) {
		return apps[i%2].AcquireTokenByCredential(ctx, []string{dynamics})
	})
	d.wait(t)
	inGate(t, 32)
	w.leaseWaiters(t, 1)
	opened := time.Now()
	d.open()
	oneToken(t, collect(t, 32, outs))
	if took := time.Since(opened); took > promptly {
		t.Errorf("stampede: the last caller had its answer %v after it came: nobody was woken", took)
	}
	w.count(t, 1, "stampede", entratest.ByScope(dynamics))

	// A user who stays, a public client's user, and then the one who goes.
	a.signIn(apps[0], stays)
	public := a.public()
	publicSignIn(t, w, public, users[2])
	if accounts, err := b.public().Accounts(ctx); err != nil || len(accounts) == 0 {
		t.Errorf("public: %d accounts on the second instance: %v", len(accounts), err)
	}
	before := w.keysOf()
	w.entra.ResetRequests()
	token = a.signIn(apps[0], u).AccessToken
	if must(t)(silent(ctx, apps[1], u.HomeAccountID())) != token {
		t.Error("user: the second instance has another token")
	}
	w.count(t, 1, "sign-in and silent call")
	vault := must(t)(silent(ctx, apps[1], u.HomeAccountID(), vaultScope))
	must(t)(silent(ctx, apps[0], u.HomeAccountID(), crmScope))
	if must(t)(silent(ctx, apps[0], u.HomeAccountID(), vaultScope)) != vault {
		t.Error("user: the first instance has another token than the second one's refresh brought")
	}
	if got := w.generations(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("user: refresh tokens of generations %v were redeemed, want 1 and 2", got)
	}

	// On behalf of.
	assertion := w.assertion(t, u)
	token = must(t)(apps[0].AcquireTokenOnBehalfOf(ctx, assertion, []string{calendarScope}))
	if must(t)(apps[1].AcquireTokenOnBehalfOf(ctx, assertion, []string{calendarScope})) != token {
		t.Error("on-behalf-of: the second instance has another token")
	}
	w.count(t, 1, "on-behalf-of", entratest.ByGrant(oboGrant))
	w.noRefusals(t)
	ofUser := slices.DeleteFunc(w.keysOf(), func(k string) bool { return slices.Contains(before, k) })
	if len(ofUser) < 3 {
		t.Errorf("the user has %d keys: what follows shows little", len(ofUser))
	}
	w.expiring(t)

	// Signing out.
	w.listening(t, 2)
	if err := b.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	for n, app := range apps {
		eventually(t, fmt.Sprintf("instance %d is signed out", n), func() bool {
			for _, scope := range []string{userScope, mailScope, filesScope} {
				if _, err := silent(ctx, app, u.HomeAccountID(), scope); err == nil {
					return false
				}
			}
			return true
		})
	}
	tombstones := 0
	for _, k := range w.keysOf() {
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
		must(t)(silent(ctx, app, stays.HomeAccountID()))
	}

	// Forgetting an app's tokens: one scope, then all.
	w.entra.ResetRequests()
	for n, scopes := range [][]string{{graph}, nil} {
		token = must(t)(apps[0].AcquireTokenByCredential(ctx, []string{graph}))
		if err := a.tokens.ForgetAppTokens(ctx, clientID, tenant, scopes...); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the second instance asks anew", func() bool {
			return must(t)(apps[1].AcquireTokenByCredential(ctx, []string{graph})) != token
		})
		if must(t)(apps[0].AcquireTokenByCredential(ctx, []string{graph})) == token {
			t.Error("the instance that forgot has the old token")
		}
		w.count(t, n+1, "forgotten", entratest.ByScope(graph))
	}
	w.expiring(t)
}

// expiring checks that every key has a TTL, and that there are none but the library's.
func (w *world) expiring(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	keys, err := w.redis.keys(ctx, "*")
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) == 0 {
		t.Error("no key at all: this shows nothing")
	}
	for _, k := range keys {
		if !strings.HasPrefix(k, w.prefix+":v1:{") {
			t.Errorf("a key without prefix: %s", k)
		}
		if ttl := w.redis.admin.PTTL(ctx, k).Val(); ttl == -1 {
			t.Errorf("%s has no TTL", k[strings.LastIndexByte(k, ':'):])
		}
	}
}

// While Sentinel fails over, planned or because the primary has died, callers go on getting tokens without an error;
// after it tokens are shared as before, and none of the user's is lost.
func TestSentinelFailoverTokensGoOn(t *testing.T) {
	own(t)
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
			s := worldOn(t, replicated(t, r))
			s.rotating()
			u := s.addUsers(1)[0]
			a, b := s.instance(unpolling), s.instance(unpolling)
			apps := []confidential.Client{a.app(), b.app()}
			a.signIn(apps[0], u)
			mail := must(t)(silent(ctx, apps[0], u.HomeAccountID(), mailScope)) // its refresh token is the second one
			token := must(t)(apps[0].AcquireTokenByCredential(ctx, []string{graph}))
			must(t)(apps[1].AcquireTokenByCredential(ctx, []string{graph}))
			// Acknowledged by the replica: what is lost otherwise is Redis's to lose. WAIT is about the writes of its own connection
			// (https://redis.io/docs/latest/commands/wait/), and a replica takes all in their order.
			one := r.Primary.Client().Conn()
			defer one.Close()
			if err := one.Set(ctx, s.prefix+":replicated", "", time.Minute).Err(); err != nil {
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
						_, err1 := app.AcquireTokenByCredential(ctx, []string{graph})
						_, err2 := silent(ctx, app, u.HomeAccountID())
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
			eventually(t, "calls before", func() bool { return calls[0].Load() > 10 && calls[1].Load() > 10 })
			failover(r)
			during := calls[0].Load()
			eventually(t, "calls after", func() bool { return calls[0].Load() > during+10 })
			over.Store(true)
			wg.Wait()

			// Shared again: an instance that knows nothing finds what another one stored after the failover.
			scope := 0
			eventually(t, "tokens are shared again", func() bool {
				scope++
				name := []string{fmt.Sprintf("https://after%d.example.com/.default", scope)}
				return must(t)(apps[0].AcquireTokenByCredential(ctx, name)) == must(t)(apps[1].AcquireTokenByCredential(ctx, name))
			})
			s.entra.ResetRequests()
			fresh := s.instance(unpolling).app()
			if must(t)(fresh.AcquireTokenByCredential(ctx, []string{graph})) != token {
				t.Error("the app's token is another")
			}
			if must(t)(silent(ctx, fresh, u.HomeAccountID(), mailScope)) != mail {
				t.Error("the user's token is another")
			}
			s.count(t, 0, "what was there before")
			must(t)(silent(ctx, fresh, u.HomeAccountID(), filesScope))
			if got := s.generations(); !slices.Equal(got, []int{2}) {
				t.Errorf("generations %v were redeemed, want 2", got)
			}
			s.noRefusals(t)
		})
	}
}

// New warns of a cluster client that ignores context deadlines, in the documented words, and of no other.
func TestClusterClientWithoutContextTimeoutIsWarnedOf(t *testing.T) {
	_, warning, _ := strings.Cut(readFile(t, "docs/redis.md"), "\n    msalredis: ")
	warning, _, _ = strings.Cut(warning, "\n")
	if warning == "" {
		t.Fatal("docs/redis.md quotes no warning")
	}
	for _, enabled := range []bool{true, false} {
		log := &journal{}
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: enabled})
		defer rdb.Close()
		o := options("t")
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
		c, err := msalredis.New(rdb, newSealer(t, generatedKey(t, "k1")), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if warned := strings.Contains(log.String(), "msalredis: "+warning); warned == enabled || enabled && log.String() != "" {
			t.Errorf("ContextTimeoutEnabled %v: the log says %q", enabled, log)
		}
	}
}

const (
	limited         = "limited"
	limitedPassword = "the limited user's password"
)

// aclRule is a rule of docs/redis.md: what is documented is what is tested.
func aclRule(t testing.TB, name string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)\n```" + name + "\n(.*?)```").FindStringSubmatch(readFile(t, "docs/redis.md"))
	if m == nil {
		t.Fatalf("docs/redis.md has no rule %s", name)
	}
	return strings.Join(strings.Fields(m[1]), " ")
}

// allowIdentity allows what go-redis sends of itself, to servers that know it.
func allowIdentity(s *redistest.Server) {
	for _, command := range []string{"+client|setinfo", "+client|maint_notifications"} {
		_ = s.Client().Do(context.Background(), "ACL", "SETUSER", limited, command).Err()
	}
}

// noRefusedCommands checks that Redis has refused nobody anything.
func noRefusedCommands(t testing.TB, servers ...*redistest.Server) {
	t.Helper()
	for _, s := range servers {
		for _, e := range refusals(t, s.Client()) {
			t.Errorf("refused: %s %s (%s)", e.Reason, e.Object, e.Context)
		}
	}
}

func refusals(t testing.TB, rdb *redis.Client) []*redis.ACLLogEntry {
	t.Helper()
	entries, err := rdb.ACLLog(context.Background(), 10_000).Result()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// With the documented rule nothing is refused, what is seldom done included: a lease that is asked for twice, and what
// go-redis does with a subscription when there is nothing to do. A full life may end before that.
func TestACLRuleIsEnough(t *testing.T) {
	own(t)
	s := redistest.Start(t)
	s.AddUser(limited, limitedPassword, aclRule(t, "acl"))
	allowIdentity(s)
	s.Do("CONFIG", "RESETSTAT") // redistest has sent its PING to see that the server is up
	w := worldOn(t, nil)
	w.exercise("msal", s.ClientAs(limited, limitedPassword), w.addUsers(1)[0])
	for _, seldom := range []string{"ping", "unsubscribe", "mset", "mget", "getrange"} {
		eventually(t, seldom, func() bool { // refused or not, it is among what was asked for
			stats, err := s.Client().InfoMap(context.Background(), "commandstats").Result()
			if err != nil {
				t.Fatal(err)
			}
			return stats["Commandstats"]["cmdstat_"+seldom] != ""
		})
	}
	noRefusedCommands(t, s)
}

// Without any one part of the documented rules Redis refuses something: they are as small as can be.
func TestACLRuleIsTheLeast(t *testing.T) {
	own(t)
	t.Run("standalone", func(t *testing.T) {
		s := redistest.Start(t)
		neededParts(t, aclRule(t, "acl"), "", func(name string) redis.UniversalClient { return s.ClientAs(name, limitedPassword) }, s)
	})
	t.Run("cluster", func(t *testing.T) {
		c := redistest.StartCluster(t)
		neededParts(t, aclRule(t, "acl-cluster"), aclRule(t, "acl"), func(name string) redis.UniversalClient { return clusterClientAs(t, c, name) }, c.Nodes...)
	})
}

// neededParts leaves out each part of rule in turn, besides what is always allowed, and looks for what Redis refuses.
func neededParts(t *testing.T, rule, always string, client func(user string) redis.UniversalClient, servers ...*redistest.Server) {
	w := worldOn(t, nil)
	u := w.addUsers(1)[0]
	var parts []string
	for _, part := range strings.Fields(rule) {
		if strings.ContainsRune("+~&", rune(part[0])) { // with the others a user begins
			parts = append(parts, part)
		}
	}
	for _, s := range servers {
		s.Do("CONFIG", "SET", "acllog-max-len", 10_000)
		for _, part := range parts {
			left := slices.DeleteFunc(strings.Fields(rule), func(p string) bool { return p == part })
			s.AddUser("without"+part, limitedPassword, always+" "+strings.Join(left, " "))
		}
	}
	try := func(part string) { w.exercise("msal:"+part, client("without"+part), u) }
	if i := slices.Index(parts, "+eval"); i >= 0 {
		// First, while the server knows no script, and alone: the others' EVAL makes them known.
		try(parts[i])
	}
	slots := make(chan struct{}, 4)
	_ = parallel(len(parts), func(i int) error {
		slots <- struct{}{}
		defer func() { <-slots }()
		if parts[i] != "+eval" {
			try(parts[i])
		}
		return nil
	})
	for _, part := range parts {
		// PING and UNSUBSCRIBE come when a connection has had nothing to do for a while.
		eventually(t, "a refusal without "+part, func() bool {
			return slices.ContainsFunc(servers, func(s *redistest.Server) bool {
				return slices.ContainsFunc(refusals(t, s.Client()), func(e *redis.ACLLogEntry) bool {
					if e.Username != "without"+part {
						return false
					}
					switch part[0] {
					case '~':
						return e.Reason == "key"
					case '&':
						return e.Reason == "channel"
					default:
						return e.Reason == "command" && e.Object == part[1:]
					}
				})
			})
		})
	}
}

func clusterClientAs(t *testing.T, c *redistest.Cluster, user string) *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), Username: user, Password: limitedPassword, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// exercise does everything once, whatever Redis refuses.
func (w *world) exercise(prefix string, rdb redis.UniversalClient, u entratest.User) {
	ctx := context.Background()
	i := w.instanceOn(rdb, w.sealer(w.keys), options(prefix))
	app := i.app()
	_, _ = app.AcquireTokenByCredential(ctx, []string{graph})
	if link, err := app.AuthCodeURL(ctx, clientID, redirectURI, []string{userScope}); err == nil {
		if code, err := w.entra.AuthorizeCode(link, u.Username); err == nil {
			_, _ = app.AcquireTokenByAuthCode(ctx, code, redirectURI, []string{userScope})
		}
	}
	_, _ = silent(ctx, app, u.HomeAccountID(), mailScope)
	_, _ = i.public().Accounts(ctx)
	canary.sawError(i.tokens.ForgetAppTokens(ctx, clientID, tenant, graph))
	canary.sawError(i.tokens.RemoveAccount(ctx, u.HomeAccountID()))

	// What a lease does when it is another's already, when it is ours already (go-redis repeats a command whose answer was
	// lost), and when it is renewed.
	leases, key := redislock.New(rdb), prefix+":v1:{lease}:lock"
	for _, token := range []string{"this one's", "another's", "this one's"} {
		if lease, err := leases.Obtain(ctx, key, time.Minute, &redislock.Options{Token: token}); err == nil {
			_ = lease.Refresh(ctx, time.Minute, nil)
		}
	}
	locker := lock.New(rdb, nil)
	w.t.Cleanup(func() { _ = locker.Close() })
	if s, err := locker.Subscribe(ctx, key); err == nil {
		s.Close()
	}
}
