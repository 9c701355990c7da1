package msalredis_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// counted is a world on one server of its own, whatever the topology, whose statistics are this test's alone.
func counted(t *testing.T) *world {
	t.Helper()
	return worldOn(t, alone(t, redistest.Start(t), address{}))
}

// stats are numbers of an INFO section, and of commandstats how often each command ran.
func (w *world) stats(section string) map[string]int64 {
	w.t.Helper()
	text, err := w.redis.admin.Info(context.Background(), section).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	stats := map[string]int64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			name = command
			value, _, _ = strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		}
		stats[name], _ = strconv.ParseInt(value, 10, 64)
	}
	return stats
}

// ran is what Redis has run since before, but for what the connections themselves and this test send.
func (w *world) ran(before map[string]int64) map[string]int64 {
	w.t.Helper()
	now := w.stats("commandstats")
	for name, n := range now {
		switch {
		case n == before[name], name == "info", name == "ping", name == "hello", strings.HasPrefix(name, "client|"):
			delete(now, name)
		default:
			now[name] = n - before[name]
		}
	}
	return now
}

// lookups are an instance's look-ups of a partition that were answered somewhere.
func (i *instance) lookups(where string) float64 {
	i.w.t.Helper()
	c := &census{all: map[string]point{}}
	return c.of(i.w.t, i, "msalredis.lookups", "msalredis.found="+where)
}

// A partition in use is revalidated half-way through LocalTTL: in the background, so that no call waits, and by a read
// that transfers only a version when nothing has changed. So its knowledge never reaches LocalTTL.
func TestUsedPartitionIsRevalidatedByItsVersionAlone(t *testing.T) {
	t.Parallel()
	w := counted(t)
	ctx := context.Background()
	const localTTL = 2 * time.Second
	i := w.instance(func(o *msalredis.Options) { o.LocalTTL = localTTL })
	app := i.app()
	call := func() { must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) }
	call()
	call()
	begun := time.Now()
	commands, asked := w.stats("commandstats"), i.lookups("redis")+i.lookups("nowhere")

	waitUntil(begun.Add(localTTL*55/100 + 50*time.Millisecond))
	call()
	eventually(t, "the revalidation", func() bool { return w.ran(commands)["evalsha"] > 0 })
	ran := w.ran(commands)
	if ran["evalsha"] != 1 || ran["hgetall"] != 0 {
		t.Errorf("Redis ran %v, want one script, and no HGETALL in it", ran)
	}

	// Older than LocalTTL since the token came, but not since the revalidation.
	waitUntil(begun.Add(localTTL + 200*time.Millisecond))
	call()
	if n := i.lookups("redis") + i.lookups("nowhere") - asked; n != 0 {
		t.Errorf("%v calls waited for Redis", n)
	}
}

// A fleet that nobody asks for tokens asks for none: a token that is due is not refreshed, and Redis gets no command but
// what its connections themselves send.
func TestIdleFleetAsksNeitherEntraIDNorRedis(t *testing.T) {
	t.Parallel()
	w := counted(t)
	ctx := context.Background()
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
	quick := func(o *msalredis.Options) { o.LocalTTL, o.LockTTL = 100*time.Millisecond, 400*time.Millisecond }
	u := w.addUsers(1)[0]
	for n := range 2 {
		i := w.instance(quick)
		app := i.app()
		must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
		if n == 0 {
			i.signIn(app, u)
		}
		must(t)(silent(ctx, app, u.HomeAccountID()))
	}
	eventually(t, "what the last call left to do is done", func() bool {
		before := w.stats("commandstats")
		waitUntil(time.Now().Add(300 * time.Millisecond))
		return len(w.ran(before)) == 0
	})
	w.entra.ResetRequests()
	before := w.stats("commandstats")
	waitUntil(time.Now().Add(2 * time.Second)) // both tokens are due from the first on
	if ran := w.ran(before); len(ran) > 0 {
		t.Errorf("Redis ran %v", ran)
	}
	w.count(t, 0, "nobody asked")
}

// While one instance refreshes a due token the others serve it: they do not wait, and they write nothing to Redis.
func TestDueTokenOthersNeitherWaitNorWrite(t *testing.T) {
	t.Parallel()
	w := counted(t)
	ctx := context.Background()
	u := w.addUsers(1)[0]
	for kind, acquire := range map[string]func(confidential.Client) (confidential.AuthResult, error){
		"app": func(app confidential.Client) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{graph})
		},
		"user": func(app confidential.Client) (confidential.AuthResult, error) {
			return silent(ctx, app, u.HomeAccountID())
		},
	} {
		t.Run(kind, func(t *testing.T) {
			const due = 3 * time.Second // three instances must have the token by then
			w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = due })
			slow := func(o *msalredis.Options) { o.LockTTL = time.Minute } // no renewal of the lease within this test
			one := w.instance(slow)
			apps := []confidential.Client{one.app(), w.instance(slow).app(), w.instance(slow).app()}
			if kind == "user" {
				one.signIn(apps[0], u)
			}
			var old string
			for _, app := range apps {
				old = must(t)(acquire(app))
			}
			waitUntil(time.Now().Add(due + 500*time.Millisecond))
			door := w.door()
			if must(t)(acquire(apps[0])) != old {
				t.Error("not the old token")
			}
			door.wait(t) // its refresh is under way, and stays so
			written := w.stats("persistence")["rdb_changes_since_last_save"]
			if token := oneToken(t, collect(t, 32, start(32, func(n int) (confidential.AuthResult, error) {
				return acquire(apps[1+n%2])
			}))); token != old {
				t.Error("another token than the old one")
			}
			if n := w.stats("persistence")["rdb_changes_since_last_save"] - written; n != 0 {
				t.Errorf("the others changed %d keys in Redis", n)
			}
			door.open()
		})
	}
}

// A refresh ahead that fails is nobody's error, not even where azidentity's pipeline would retry one: its credential gets
// the old token at once, and nothing was retried.
func TestAzidentitySeesNoFailedRefreshAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
	credential := func() *azidentity.ClientSecretCredential {
		cred, err := azidentity.NewClientSecretCredential(tenant, clientID, clientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: w.instance().http}})
		if err != nil {
			t.Fatal(err)
		}
		return cred
	}
	get := func(cred *azidentity.ClientSecretCredential) string {
		t.Helper()
		token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{graph}})
		if err != nil {
			t.Fatal(err)
		}
		return token.Token
	}
	first := credential()
	old := get(first)
	waitUntil(time.Now().Add(1500 * time.Millisecond))
	w.entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable, RetryAfter: "60"})
	w.entra.ResetRequests()
	for range 3 {
		for _, cred := range []*azidentity.ClientSecretCredential{first, credential()} {
			if get(cred) != old {
				t.Error("another token")
			}
		}
	}
	eventually(t, "a refresh was tried", func() bool { return w.entra.Count() > 0 })
	w.count(t, 1, "refreshes while the server wants a pause")
}

// Entra ID goes down half-way through a token's life and stays down: until its end no call fails, of an app or a user, on
// the instance that has the token and on one that starts afterwards, although MSAL alone gives up five minutes before.
func TestEntraDownForTheSecondHalfOfATokensLifeNoFailedCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	u := w.addUsers(1)[0]
	const usable, last = 5 * time.Second, 3 * time.Second // last: what this test looks at of the last five minutes
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = usable + 5*time.Minute })
	i := w.instance()
	app := i.app()
	i.signIn(app, u)
	tokens := map[string]string{
		"app":  must(t)(app.AcquireTokenByCredential(ctx, []string{graph})),
		"user": must(t)(silent(ctx, app, u.HomeAccountID())),
	}
	came := time.Now()
	waitUntil(came.Add(usable / 2))
	w.entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})
	apps := []confidential.Client{app, w.instance().app()}
	for time.Now().Before(came.Add(usable + last)) {
		for n, app := range apps {
			if must(t)(app.AcquireTokenByCredential(ctx, []string{graph})) != tokens["app"] {
				t.Errorf("instance %d: another app token", n)
			}
			if must(t)(silent(ctx, app, u.HomeAccountID())) != tokens["user"] {
				t.Errorf("instance %d: another user token", n)
			}
		}
		waitUntil(time.Now().Add(20 * time.Millisecond))
	}
}

// Local memory is bounded by LocalBytes, whatever a process has seen, and what was put out of it is still in Redis.
func TestLocalMemoryIsBoundedByLocalBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	const bound, tenants = 64 << 10, 60 // about 5 KB each
	i := w.instance(func(o *msalredis.Options) { o.LocalBytes = bound })
	acquire := func(n int) string {
		return must(t)(i.app().AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(fmt.Sprintf("%08d-0000-4000-8000-000000000000", n))))
	}
	var tokens []string
	for n := range tenants {
		tokens = append(tokens, acquire(n))
	}
	sizes := &census{all: map[string]point{}}
	for _, what := range []string{"partitions", "answers"} {
		if size := sizes.of(t, i, "msalredis.memory.size", "msalredis.holds="+what); size == 0 || size > bound {
			t.Errorf("%v bytes of %s, want at most %d, and some", size, what, bound)
		}
	}
	for n := range tenants {
		if acquire(n) != tokens[n] {
			t.Errorf("tenant %d: another token", n)
		}
	}
	w.count(t, tenants, "one for each tenant")
}

// What a process keeps of a user is the user's entries, and not the document of MSAL's that they came in, which has
// the other users in it. It is not run beside others: it reads the heap.
func TestMemoryForUsersOnOneClientIsTheirOwnEntries(t *testing.T) {
	w := newWorld(t)
	users := w.addUsers(200)
	i := w.instance()
	app := i.app()
	i.signIn(app, users[0])
	before := heap()
	for _, u := range users[1:] {
		i.signIn(app, u)
	}
	used := heap() - before
	// The emulator, which lives here too, MSAL and this Cache have some 40 KB of a user among them.
	if most := int64(len(users)) * 100 << 10; used > most {
		t.Errorf("%d users on one client take %d KB, want at most %d", len(users), used>>10, most>>10)
	}
	runtime.KeepAlive(app)
}

// heap is what lives on the heap.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what has a finalizer goes the second time
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What a hit and a cold read ask of Redis is the same where it holds 100,000 partitions more.
func TestHundredThousandPartitionsSameCommands(t *testing.T) {
	t.Parallel()
	w := counted(t)
	ctx := context.Background()
	measure := func() (hit, cold map[string]int64) {
		i := w.instance(func(o *msalredis.Options) { o.LocalTTL = time.Minute })
		app := i.app()
		before := w.stats("commandstats")
		must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
		eventually(t, "the instance hears the others", func() bool { return w.ran(before)["subscribe"] == 1 })
		cold = w.ran(before)
		before = w.stats("commandstats")
		for range 100 {
			must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
		}
		return w.ran(before), cold
	}
	must(t)(w.instance().app().AcquireTokenByCredential(ctx, []string{graph})) // and the scripts are known
	_, few := measure()
	fill := redis.NewScript(`for i = 1, 100000 do
  redis.call('HSET', KEYS[1] .. ':v1:{' .. i .. '}:tokens', 'v', '1700000000000000', 'f' .. i, ARGV[1])
end
return redis.call('DBSIZE')`)
	n, err := fill.Run(ctx, w.redis.admin, []string{"others"}, strings.Repeat("x", 200)).Int64()
	if err != nil || n < 100_000 {
		t.Fatalf("%d partitions, %v", n, err)
	}
	hit, many := measure()
	if len(hit) > 0 {
		t.Errorf("100 hits: Redis ran %v", hit)
	}
	if fmt.Sprint(few) != fmt.Sprint(many) {
		t.Errorf("a cold read: Redis ran %v, and among 100,000 partitions %v", few, many)
	}
	w.count(t, 1, "all instances")
}
