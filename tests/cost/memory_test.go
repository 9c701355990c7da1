package cost_test

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
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// counted is a world on one server of its own, whatever the topology, whose statistics are this test's alone.
func counted(t *testing.T) *harness.World {
	t.Helper()
	return harness.WorldOn(t, harness.Alone(t, redistest.Start(t), harness.Address{}))
}

// stats are numbers of an INFO section, and of commandstats how often each command ran.
func stats(w *harness.World, section string) map[string]int64 {
	w.T.Helper()
	text, err := w.Redis.Admin.Info(context.Background(), section).Result()
	if err != nil {
		w.T.Fatal(err)
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
func ran(w *harness.World, before map[string]int64) map[string]int64 {
	w.T.Helper()
	now := stats(w, "commandstats")
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
func lookups(i *harness.Instance, where string) float64 {
	i.World.T.Helper()
	c := &harness.Census{All: map[string]harness.Point{}}
	return c.Of(i.World.T, i, "msalredis.lookups", "msalredis.found="+where)
}

// A partition in use is revalidated half-way through LocalTTL: in the background, so that no call waits, and by a read
// that transfers only a version when nothing has changed. So its knowledge never reaches LocalTTL.
func TestUsedPartitionIsRevalidatedByItsVersionAlone(t *testing.T) {
	t.Parallel()
	w := counted(t)
	ctx := context.Background()
	const localTTL = 2 * time.Second
	i := w.Instance(func(o *msalredis.Options) { o.LocalTTL = localTTL })
	app := i.App()
	call := func() { harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) }
	call()
	call()
	w.Settled()
	begun := time.Now()
	commands, asked := stats(w, "commandstats"), lookups(i, "redis")+lookups(i, "nowhere")

	harness.WaitUntil(begun.Add(localTTL*55/100 + 50*time.Millisecond))
	call()
	harness.Eventually(t, "the revalidation", func() bool { return ran(w, commands)["hget"] > 0 })
	ran := ran(w, commands)
	if ran["hget"] != 1 || ran["hgetall"] != 0 {
		t.Errorf("Redis ran %v, want one question after the version, and none after the tokens", ran)
	}

	// Older than LocalTTL since the token came, but not since the revalidation.
	harness.WaitUntil(begun.Add(localTTL + 200*time.Millisecond))
	call()
	if n := lookups(i, "redis") + lookups(i, "nowhere") - asked; n != 0 {
		t.Errorf("%v calls waited for Redis", n)
	}
}

// A fleet that nobody asks for tokens asks for none: a token that is due is not refreshed, and Redis gets no command
// but what its connections themselves send.
func TestIdleFleetAsksNeitherEntraIDNorRedis(t *testing.T) {
	t.Parallel()
	w := counted(t)
	ctx := context.Background()
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
	quick := func(o *msalredis.Options) { o.LocalTTL, o.LockTTL = 100*time.Millisecond, 400*time.Millisecond }
	u := w.AddUsers(1)[0]
	for n := range 2 {
		i := w.Instance(quick)
		app := i.App()
		harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
		if n == 0 {
			i.SignIn(app, u)
		}
		harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID()))
	}
	harness.Eventually(t, "what the last call left to do is done", func() bool {
		before := stats(w, "commandstats")
		harness.WaitUntil(time.Now().Add(300 * time.Millisecond))
		return len(ran(w, before)) == 0
	})
	w.Entra.ResetRequests()
	before := stats(w, "commandstats")
	harness.WaitUntil(time.Now().Add(2 * time.Second)) // both tokens are due from the first on
	if ran := ran(w, before); len(ran) > 0 {
		t.Errorf("Redis ran %v", ran)
	}
	w.Count(t, 0, "nobody asked")
}

// While one instance refreshes a due token the others serve it: they do not wait, and they write nothing to Redis.
func TestDueTokenOthersNeitherWaitNorWrite(t *testing.T) {
	t.Parallel()
	w := counted(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	for kind, acquire := range map[string]func(confidential.Client) (confidential.AuthResult, error){
		"app": func(app confidential.Client) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		},
		"user": func(app confidential.Client) (confidential.AuthResult, error) {
			return harness.Silent(ctx, app, u.HomeAccountID())
		},
	} {
		t.Run(kind, func(t *testing.T) {
			const due = 3 * time.Second // three instances must have the token by then
			w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = due })
			slow := func(o *msalredis.Options) { o.LockTTL = time.Minute } // no renewal of the lease within this test
			one := w.Instance(slow)
			apps := []confidential.Client{one.App(), w.Instance(slow).App(), w.Instance(slow).App()}
			if kind == "user" {
				one.SignIn(apps[0], u)
			}
			var old string
			for _, app := range apps {
				old = harness.Must(t)(acquire(app))
			}
			harness.WaitUntil(time.Now().Add(due + 500*time.Millisecond))
			door := w.Door()
			if harness.Must(t)(acquire(apps[0])) != old {
				t.Error("not the old token")
			}
			door.Wait(t) // its refresh is under way, and stays so
			written := stats(w, "persistence")["rdb_changes_since_last_save"]
			outs := harness.StartCalls(32, func(n int) (confidential.AuthResult, error) {
				return acquire(apps[1+n%2])
			})
			if token := harness.OneToken(t, harness.CollectCalls(t, 32, outs)); token != old {
				t.Error("another token than the old one")
			}
			if n := stats(w, "persistence")["rdb_changes_since_last_save"] - written; n != 0 {
				t.Errorf("the others changed %d keys in Redis", n)
			}
			door.Open()
		})
	}
}

// A refresh ahead that fails is nobody's error, not even where azidentity's pipeline would retry one: its credential
// gets the old token at once, and nothing was retried.
func TestAzidentitySeesNoFailedRefreshAhead(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
	credential := func() *azidentity.ClientSecretCredential {
		cred, err := azidentity.NewClientSecretCredential(harness.Tenant, harness.ClientID, harness.ClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: w.Instance().HTTP}})
		if err != nil {
			t.Fatal(err)
		}
		return cred
	}
	get := func(cred *azidentity.ClientSecretCredential) string {
		t.Helper()
		token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{harness.GraphScope}})
		if err != nil {
			t.Fatal(err)
		}
		return token.Token
	}
	first := credential()
	old := get(first)
	harness.WaitUntil(time.Now().Add(1500 * time.Millisecond))
	w.Entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable, RetryAfter: "60"})
	w.Entra.ResetRequests()
	for range 3 {
		for _, cred := range []*azidentity.ClientSecretCredential{first, credential()} {
			if get(cred) != old {
				t.Error("another token")
			}
		}
	}
	harness.Eventually(t, "a refresh was tried", func() bool { return w.Entra.Count() > 0 })
	w.Count(t, 1, "refreshes while the server wants a pause")
}

// Entra ID goes down half-way through a token's life and stays down: until its end no call fails, of an app or a user,
// on the instance that has the token and on one that starts afterwards, although MSAL alone gives up five minutes
// before.
func TestEntraDownForTheSecondHalfOfATokensLifeNoFailedCall(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	u := w.AddUsers(1)[0]
	const usable, last = 5 * time.Second, 3 * time.Second // last: what this test looks at of the last five minutes
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = usable + 5*time.Minute })
	i := w.Instance()
	app := i.App()
	i.SignIn(app, u)
	tokens := map[string]string{
		"app":  harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})),
		"user": harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())),
	}
	came := time.Now()
	harness.WaitUntil(came.Add(usable / 2))
	w.Entra.AddFault(entratest.Fault{Status: http.StatusServiceUnavailable})
	apps := []confidential.Client{app, w.Instance().App()}
	for time.Now().Before(came.Add(usable + last)) {
		for n, app := range apps {
			if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != tokens["app"] {
				t.Errorf("instance %d: another app token", n)
			}
			if harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())) != tokens["user"] {
				t.Errorf("instance %d: another user token", n)
			}
		}
		harness.WaitUntil(time.Now().Add(20 * time.Millisecond))
	}
}

// Local memory is bounded by LocalBytes, whatever a process has seen, and what was put out of it is still in Redis.
func TestLocalMemoryIsBoundedByLocalBytes(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	ctx := context.Background()
	const bound, tenants = 64 << 10, 60 // about 5 KB each
	i := w.Instance(func(o *msalredis.Options) { o.LocalBytes = bound })
	acquire := func(n int) string {
		return harness.Must(t)(i.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope},
			confidential.WithTenantID(fmt.Sprintf("%08d-0000-4000-8000-000000000000", n))))
	}
	var tokens []string
	for n := range tenants {
		tokens = append(tokens, acquire(n))
	}
	sizes := &harness.Census{All: map[string]harness.Point{}}
	for _, what := range []string{"partitions", "answers"} {
		if size := sizes.Of(t, i, "msalredis.memory.size", "msalredis.holds="+what); size == 0 || size > bound {
			t.Errorf("%v bytes of %s, want at most %d, and some", size, what, bound)
		}
	}
	for n := range tenants {
		if acquire(n) != tokens[n] {
			t.Errorf("tenant %d: another token", n)
		}
	}
	w.Count(t, tenants, "one for each tenant")
}

// What a process keeps of a user is the user's entries, and not the document of MSAL's that they came in, which has
// the other users in it. It is not run beside others: it reads the heap.
func TestMemoryForUsersOnOneClientIsTheirOwnEntries(t *testing.T) { memoryForUsers(t, 60) }

func TestLongMemoryForUsersOnOneClientIsTheirOwnEntries(t *testing.T) {
	long.Test(t)
	memoryForUsers(t, 200)
}

func memoryForUsers(t *testing.T, n int) {
	w := harness.NewWorld(t)
	users := w.AddUsers(n)
	i := w.Instance()
	app := i.App()
	i.SignIn(app, users[0])
	before := heap()
	for _, u := range users[1:] {
		i.SignIn(app, u)
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
		i := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Minute })
		app := i.App()
		before := stats(w, "commandstats")
		harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
		harness.Eventually(t, "the instance hears the others", func() bool { return ran(w, before)["subscribe"] == 1 })
		cold = ran(w, before)
		before = stats(w, "commandstats")
		for range 100 {
			harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
		}
		return ran(w, before), cold
	}
	// and the scripts are known
	harness.Must(t)(w.Instance().App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	w.Settled()
	_, few := measure()
	fill := redis.NewScript(`for i = 1, 100000 do
  redis.call('HSET', KEYS[1] .. ':v1:{' .. i .. '}:tokens', 'v', '1700000000000000', 'f' .. i, ARGV[1])
end
return redis.call('DBSIZE')`)
	n, err := fill.Run(ctx, w.Redis.Admin, []string{"others"}, strings.Repeat("x", 200)).Int64()
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
	w.Count(t, 1, "all instances")
}
