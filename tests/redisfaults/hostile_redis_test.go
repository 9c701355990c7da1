package redisfaults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/connect"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A Redis whose keys of ours hold what another program put there, of every type and any size, is one without tokens: no
// error, although FailClosed would return it, bounded memory, one request for a token, and what is stored replaces it.
func TestRedisFilledWithGarbage(t *testing.T) {
	names := []string{"tokens", "tombstone", "rids", "response", "pause"}
	for name, test := range map[string]struct {
		script string // KEYS[1] is one of the names
		of     []string
	}{
		"lists":       {`redis.call('RPUSH', KEYS[1], 'x', 'y')`, names},
		"sets":        {`redis.call('SADD', KEYS[1], 'x', 'y')`, names},
		"sorted sets": {`redis.call('ZADD', KEYS[1], 1, 'x', 2, '')`, names},
		"hashes":      {`redis.call('HSET', KEYS[1], 'v', 'x', '', '', 'f', '{{{[[[')`, names},
		"text":        {`redis.call('SET', KEYS[1], '{"a":[[[[{"b":99999999999999999999999999999')`, names},
		"bytes":       {`redis.call('SET', KEYS[1], '\255\0\r\n')`, names},
		"nothing":     {`redis.call('SET', KEYS[1], '')`, names},
		"hashes of 20,000 fields": {`for i = 1, 20000 do redis.call('HSET', KEYS[1], string.rep('f', 1000) .. i, 'x') end`,
			names[:1]},
		"hashes with a value of 20 M": {`redis.call('HSET', KEYS[1], 'f', string.rep('x', 20971520))`, names[:1]},
		"answers of 20 M":             {`redis.call('SET', KEYS[1], string.rep('9', 20971520))`, names[3:4]},
		"lists of 20 M":               {`redis.call('ZADD', KEYS[1], 9e15, string.rep('x', 20971520))`, names[2:3]},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			w := harness.Breakable(t)
			u := w.AddUsers(1)[0]
			assertion := w.Assertion(t, u)
			first := w.Instance()
			use := func(i *harness.Instance, app confidential.Client) (errs []error) {
				_, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
				errs = append(errs, err)
				i.SignIn(app, u)
				_, err = harness.Silent(ctx, app, u.HomeAccountID())
				errs = append(errs, err)
				_, err = app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope})
				return append(errs, err)
			}
			for _, err := range use(first, first.App()) {
				if err != nil {
					t.Fatal(err)
				}
			}
			rdb, keys := w.Redis.Admin, layout.Names{Prefix: w.Prefix}
			spoilt := map[string]bool{}
			for _, key := range w.KeysOf() {
				id, _, _ := keys.Parse(key)
				for _, what := range test.of {
					place := w.Prefix + ":v1:{" + string(id) + "}:" + what
					if spoilt[place] || id == "accounts" {
						continue
					}
					spoilt[place] = true
					if err := rdb.Del(ctx, place).Err(); err != nil {
						t.Fatal(err)
					}
					err := rdb.Eval(ctx, test.script+" redis.call('EXPIRE', KEYS[1], 600) return 1", []string{place}).Err()
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			if len(spoilt) < len(test.of) {
				t.Fatal("nothing is spoilt, and this test shows nothing")
			}
			w.Entra.ResetRequests()
			second := w.Instance(func(o *msalredis.Options) { o.FailClosed = true })
			app := second.App()
			n := harness.Allocated(func() {
				for _, err := range use(second, app) {
					if err != nil {
						harness.Canary.SawError(err)
						t.Errorf("%v", err)
					}
				}
			})
			if n > 32<<20 { // unbounded it is read once, and copied once
				t.Errorf("it took %d MiB", n>>20)
			}
			before := w.Entra.Count()
			third := w.Instance()
			thirdApp := third.App()
			harness.Must(t)(thirdApp.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
			harness.Must(t)(harness.Silent(ctx, thirdApp, u.HomeAccountID()))
			harness.Must(t)(thirdApp.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope}))
			w.Count(t, before, "what replaced it")
			if err := second.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Errorf("a sign-out: %v", err)
			}
			for place := range spoilt { // else the canary takes garbage for records
				rdb.Del(ctx, place)
			}
		})
	}
}

// The list of accounts may be spoilt too.
func TestSpoiltListOfAccounts(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	i := w.Instance(func(o *msalredis.Options) { o.FailClosed = true })
	list := layout.Names{Prefix: w.Prefix}.Accounts()
	if err := w.Redis.Admin.Set(ctx, list, "text", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	if accounts, err := i.Public().Accounts(ctx); err != nil || len(accounts) > 0 {
		t.Errorf("%d accounts, %v", len(accounts), err)
	}
	if err := i.Tokens.RemoveAccount(ctx, "somebody."+harness.Tenant); err != nil {
		t.Errorf("a sign-out: %v", err)
	}
}

// What stands in a list and names nothing does no harm either: on a cluster its keys would lie in several slots, and
// the sign-out never be done, or the accounts after it not be found.
func TestListedNamesOfNothingAreSkipped(t *testing.T) {
	t.Parallel()
	harness.OnlyStandalone(t)
	ctx := context.Background()
	w := harness.WorldOn(t, harness.Topologies["cluster"](t))
	i := w.Instance(func(o *msalredis.Options) { o.FailClosed = true })
	u := w.AddUsers(1)[0]
	account := harness.PublicSignIn(t, w, i.Public(), u).Account
	names := layout.Names{Prefix: w.Prefix}
	rids := names.RIDs(layout.PartitionID(account.HomeAccountID))
	for list, members := range map[string][]string{names.Accounts(): {"", "}"}, rids: {"r", "p", "r s }", "p s }x"}} {
		for _, m := range members {
			if err := w.Redis.Admin.ZAdd(ctx, list, redis.Z{Member: m, Score: 1e13}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Equal scores are in the order of their members, so these come before any account.
	w.Redis.Admin.ZAddXX(ctx, names.Accounts(),
		redis.Z{Member: string(layout.PartitionID(account.HomeAccountID)), Score: 2e13})
	other := w.Instance(func(o *msalredis.Options) { o.FailClosed = true })
	if accounts, err := other.Public().Accounts(ctx); err != nil || len(accounts) != 1 {
		t.Errorf("%d accounts, %v", len(accounts), err)
	}
	if err := i.Tokens.RemoveAccount(ctx, account.HomeAccountID); err != nil {
		t.Errorf("a sign-out: %v", err)
	}
	if n := w.Redis.Admin.ZCard(ctx, rids).Val(); n > 0 {
		t.Errorf("%d members are left", n)
	}
}

// Who writes to Redis can list a partition with itself: removing it ends all the same.
func TestPartitionListedWithItselfIsRemovedOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	w := harness.NewWorld(t)
	i := w.Instance()
	app := i.App()
	old := harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	names := layout.Names{Prefix: w.Prefix}
	pid, _, _ := names.Parse(w.KeysLike(":tokens")[0])
	self := layout.Member{Kind: layout.MemberPartition, ID: pid}.String()
	if err := w.Redis.Admin.Do(ctx, "ZADD", names.RIDs(pid), "9e15", self).Err(); err != nil {
		t.Fatal(err)
	}
	if err := i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant); err != nil {
		t.Fatal(err)
	}
	if harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) == old {
		t.Error("the forgotten token is served")
	}
}

// nonsense is a server that introduces itself as a Redis and answers each command with one reply, for ever if it has no
// end.
func nonsense(t *testing.T, reply, endless string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					command := strings.ToLower(string(buffer[:n]))
					if strings.Contains(command, "hello") || strings.Contains(command, "maint_notifications") {
						reply := strings.Repeat("-ERR unknown command\r\n", strings.Count(command, "*")) // pipelined
						if _, err := conn.Write([]byte(reply)); err != nil {
							return
						}
						continue
					}
					if _, err := conn.Write([]byte(reply)); err != nil {
						return
					}
					for endless != "" {
						if _, err := conn.Write([]byte(endless)); err != nil {
							return
						}
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// A server that speaks no sense in Redis's place costs nobody a token, little memory and not the process: calls get
// theirs from Entra ID, and FailClosed an error.
func TestRedisThatSpeaksNonsense(t *testing.T) {
	for name, test := range map[string]struct{ reply, endless string }{
		"a number":                {reply: ":1\r\n"},
		"text in place of a list": {reply: "$5\r\nhello\r\n"},
		"no time":                 {reply: "*4\r\n$3\r\nabc\r\n$1\r\n1\r\n$1\r\n0\r\n*0\r\n"},
		"lists in lists":          {reply: "*2\r\n$16\r\n1700000000000000\r\n*1\r\n*1\r\n*1\r\n$1\r\nx\r\n"},
		"too few":                 {reply: "*1\r\n$16\r\n1700000000000000\r\n"},
		"numbers that are none": {reply: "*4\r\n$16\r\n1700000000000000\r\n$1\r\nx\r\n$99\r\n" +
			strings.Repeat("9", 99) + "\r\n*0\r\n"},
		"a field without a value":       {reply: "*4\r\n$16\r\n1700000000000000\r\n$1\r\n1\r\n$1\r\n0\r\n*1\r\n$1\r\nf\r\n"},
		"a moved slot":                  {reply: "-MOVED 1 127.0.0.1:1\r\n"},
		"not RESP":                      {reply: "HTTP/1.1 400 Bad Request\r\n\r\n"},
		"a string of 500 MB":            {reply: "$536870912\r\n"},
		"an array longer than memory":   {reply: "*9223372036854775807\r\n"},
		"arrays in arrays, without end": {endless: strings.Repeat("*1\r\n", 1<<12)},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.WorldOn(t, nil)
			rdb, err := connect.Open("redis://"+nonsense(t, test.reply, test.endless), nil)
			if err != nil {
				t.Fatal(err)
			}
			goesOn, closed := harness.Options(w.Prefix), harness.Options(w.Prefix)
			goesOn.OpTimeout, closed.OpTimeout, closed.FailClosed = 300*time.Millisecond, 300*time.Millisecond, true
			i := w.InstanceOn(rdb, w.Sealer(w.Keys), goesOn)
			f := w.InstanceOn(rdb, w.Sealer(w.Keys), closed)
			t.Cleanup(func() {
				i.Close()
				f.Close()
				rdb.Close()
			})
			app := i.App()
			n := harness.Allocated(func() {
				for range 2 {
					harness.Must(t)(app.AcquireTokenByCredential(t.Context(), []string{harness.GraphScope}))
				}
			})
			if n > harness.AllocationLimit {
				t.Errorf("it took %d MiB", n>>20)
			}
			w.Count(t, 1, "one token")
			_, err = f.App().AcquireTokenByCredential(t.Context(), []string{harness.GraphScope})
			if err == nil || !strings.Contains(err.Error(), "FailClosed") {
				t.Errorf("FailClosed: %v", err)
			}
			harness.Canary.SawError(err)
		})
	}
}

// MSAL's partition keys may be any bytes: each is a partition of its own, its names in Redis are harmless, and what is
// stored under it is found under it and nowhere else.
func TestPartitionKeysOfAnyBytes(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	a, b := w.Instance(), w.Instance()
	keys := []string{"user.tenant", "{", "}{", "{}", "a}:tokens", "*", "v", " ", "\n\r\t", "\x00", "a\x00", "a\x00b",
		strings.Repeat("x", 10_000), strings.Repeat("x", 10_001), "ü", "u\u0308", "\u2028", "\xff", "\xff\xfe",
		"_AppTokenCache", "c_t_AppTokenCache", `"`, `\`, `\u0000`, "' OR 1=1 --", "../..", "%00"}
	document := func(key string) []byte {
		entry := map[string]string{
			"home_account_id": key, "environment": "login.microsoftonline.com", "realm": harness.Tenant,
			"credential_type": "AccessToken", "client_id": harness.ClientID,
			"secret": "secret of " + harness.HashOf(key), "target": "scope", "token_type": "Bearer",
			"cached_at": fmt.Sprint(time.Now().Unix()), "expires_on": fmt.Sprint(time.Now().Add(time.Hour).Unix()),
			"extended_expires_on": fmt.Sprint(time.Now().Add(time.Hour).Unix()),
		}
		text, err := json.Marshal(map[string]any{"AccessToken": map[string]any{key + "-entry": entry}})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, key := range keys {
		m := &harness.MSALMemory{}
		if err := a.Tokens.Replace(ctx, m, cache.ReplaceHints{PartitionKey: key}); err != nil {
			t.Fatalf("%.20q: %v", key, err)
		}
		m.Document = document(key)
		if err := a.Tokens.Export(ctx, m, cache.ExportHints{PartitionKey: key}); err != nil {
			t.Fatalf("%.20q: %v", key, err)
		}
	}
	if err := a.Tokens.Replace(ctx, &harness.MSALMemory{}, cache.ReplaceHints{}); err != nil {
		t.Errorf("all accounts: %v", err)
	}
	harmless := regexp.MustCompile(`^` + regexp.QuoteMeta(w.Prefix) + `:v1:\{([A-Za-z0-9_-]{24}|accounts)\}:[a-z]+$`)
	for _, key := range w.KeysOf() {
		if !harmless.MatchString(key) {
			t.Errorf("key %q", key)
		}
	}
	found := 0
	for _, key := range keys {
		m := &harness.MSALMemory{}
		if err := b.Tokens.Replace(ctx, m, cache.ReplaceHints{PartitionKey: key}); err != nil {
			t.Fatalf("%.20q: %v", key, err)
		}
		for _, other := range keys {
			switch has := strings.Contains(string(m.Document), harness.HashOf(other)); {
			case has && other != key:
				t.Errorf("%.20q has what was stored under %.20q", key, other)
			case has:
				found++
			}
		}
	}
	// All but the two that JSON cannot hold: MSAL's own document cannot name such an account either.
	if want := len(keys) - 2; found != want {
		t.Errorf("%d partitions are found again, want %d", found, want)
	}
}

// watching tells of each manager that MSAL brings.
type watching struct {
	cache.ExportReplace
	before func(any)
}

func (w watching) Replace(ctx context.Context, u cache.Unmarshaler, h cache.ReplaceHints) error {
	w.before(u)
	return w.ExportReplace.Replace(ctx, u, h)
}

// MSAL never removes the tokens that it gets on behalf of users: they are bounded, by LocalBytes at some 8 KB each, and
// not asked for again.
func TestOnBehalfOfMemoryInMSALIsBounded(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	const most = 64
	users := w.AddUsers(most + 16)
	i := w.Instance(func(o *msalredis.Options) { o.LocalBytes = most * 8 << 10 })
	largest, watched := 0, false
	tokens := watching{i.Tokens, func(manager any) {
		// this test has no other way to tell
		if !watched || !strings.HasSuffix(fmt.Sprintf("%T", manager), "PartitionedManager") {
			return
		}
		document, err := manager.(cache.Marshaler).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, strings.Count(string(document), `"credential_type":"AccessToken"`))
	}}
	app := harness.NewApp(t, w.Entra.Authority(harness.Tenant), tokens, i.HTTP)
	assertions := map[int]string{}
	for n, u := range users {
		assertions[n] = w.Assertion(t, u)
		watched = n >= most-2 && n < most+2 || n == len(users)-1 // MSAL takes its time for it
		harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, assertions[n], []string{harness.MailScope}))
	}
	if largest > most || largest < most/2 {
		t.Errorf("MSAL held the tokens of %d assertions at once, want %d", largest, most)
	}
	w.Count(t, len(users), "one request for each assertion")
	watched = false
	for n := range most / 4 {
		harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, assertions[n], []string{harness.MailScope}))
	}
	w.Count(t, len(users), "what MSAL had to forget")
}
