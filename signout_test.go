package msalredis_test

import (
	"context"
	"fmt"
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
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// refusing answers chosen commands with an error while it is on.
type refusing struct {
	on     atomic.Bool
	chosen func(redis.Cmder) bool
	also   atomic.Bool // refuse stores too
}

// refusal is an answer of a server that is there: it does not open the breaker.
type refusal struct{}

func (refusal) Error() string { return "ERR refused by the test" }
func (refusal) RedisError()   {}

func (r *refusing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (r *refusing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (r *refusing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if r.on.Load() && r.chosen(cmd) || r.also.Load() && isStore(cmd) {
			cmd.SetErr(refusal{})
			return refusal{}
		}
		return next(ctx, cmd)
	}
}

// hooked is a client whose hooks the library passes: of a *redis.Client it makes a copy, without hooks, that has a time-out.
type hooked struct{ redis.UniversalClient }

// isSignOut tells the script of a sign-out by its keys (signout.lua).
func isSignOut(cmd redis.Cmder) bool { return hasKeys(cmd, ":tokens", ":tombstone", ":rids", ":fence") }

// isStore tells the script that writes entries (store.lua) from that which reads them by its many arguments.
func isStore(cmd redis.Cmder) bool {
	return hasKeys(cmd, ":tokens", ":tombstone") && cmd.Args()[2] == 2 && len(cmd.Args()) > 3+2+3
}

func hasKeys(cmd redis.Cmder, ends ...string) bool {
	args := cmd.Args()
	if !strings.HasPrefix(strings.ToLower(cmd.Name()), "eval") || len(args) < 3+len(ends) {
		return false
	}
	for i, end := range ends {
		if key, ok := args[3+i].(string); !ok || !strings.HasSuffix(key, end) {
			return false
		}
	}
	return true
}

// refusingSignOuts is an instance whose sign-outs Redis can be made to refuse.
func (w *world) refusingSignOuts() (*instance, *refusing) {
	refuse := &refusing{chosen: isSignOut}
	rdb := w.client()
	rdb.AddHook(refuse)
	return w.instanceOn(hooked{rdb}, w.sealer(w.keys), options(w.prefix)), refuse
}

// A sign-out that Redis has not taken is tried again until it is done, and then concerns what was there when it was
// asked for: a sign-in that came meanwhile is kept.
func TestSignInAfterAPendingSignOutIsKept(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	here, refuse := w.refusingSignOuts()
	app := here.app()
	old := here.signIn(app, u)

	refuse.on.Store(true)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	fresh := here.signIn(app, u)
	refuse.also.Store(true)
	refuse.on.Store(false)
	tombstone := func() bool {
		for _, k := range w.keysOf() {
			if strings.HasSuffix(k, ":tombstone") {
				return true
			}
		}
		return false
	}
	eventually(t, "the sign-out", tombstone)
	for range 3 { // the sign-out is done and the sign-in waits: here it counts already
		if got, err := silent(ctx, app, u.HomeAccountID()); err != nil || got.AccessToken != fresh.AccessToken {
			t.Errorf("between the sign-out and the storing of the sign-in: %v", err)
		}
	}
	refuse.also.Store(false)
	eventually(t, "another instance finds the sign-in", func() bool {
		got, err := silent(ctx, w.instance().app(), u.HomeAccountID())
		return err == nil && got.AccessToken == fresh.AccessToken && got.AccessToken != old.AccessToken
	})
}

// An instance whose sign-out Redis has not taken, here because it takes no writes, keeps that in mind whatever it has to forget
// for want of memory: else it would take up again what Redis still has.
func TestPendingSignOutOutlivesEviction(t *testing.T) {
	w := breakable(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	here := w.instance(func(o *msalredis.Options) { o.LocalBytes = 32 << 10 })
	app := here.app()
	here.signIn(app, u)
	w.redis.ReadOnly(t)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	for n := range 12 {
		must(t)(here.app().AcquireTokenByCredential(ctx, []string{graph}, confidential.WithTenantID(tenantName(n))))
	}
	for name, app := range map[string]confidential.Client{"the client": app, "another of the process": here.app()} {
		if _, err := silent(ctx, app, u.HomeAccountID()); err == nil {
			t.Errorf("%s has a token of the user who has signed out", name)
		}
	}
}

// A write that Redis goes on refusing, here a sign-out, keeps no other from being made, and what has been made takes no memory
// from what waits.
func TestWriteThatIsRefusedHoldsNoOtherBack(t *testing.T) {
	w := newWorld(t)
	users := w.addUsers(2)
	here, refuse := w.refusingSignOuts()
	app := here.app()
	here.signIn(app, users[0])
	refuse.on.Store(true)
	if err := here.tokens.RemoveAccount(context.Background(), users[0].HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	stored := w.fields()
	before := stored()
	c := &census{all: map[string]point{}}
	alone := c.of(t, here, "msalredis.pending.size")
	refuse.also.Store(true)
	here.signIn(app, users[1])
	if n := stored(); n != before || c.of(t, here, "msalredis.pending.size") <= alone {
		t.Fatalf("%d entries, had %d: nothing waits behind the sign-out, and this test shows nothing", n, before)
	}
	refuse.also.Store(false)
	eventually(t, "the tokens get there", func() bool { return stored() > before })
	eventually(t, "the sign-out alone waits", func() bool {
		return c.of(t, here, "msalredis.pending.size") == alone && c.of(t, here, "msalredis.pending.writes") == 1
	})
	refuse.on.Store(false)
	eventually(t, "the sign-out is made", func() bool { return c.of(t, here, "msalredis.pending.signouts") == 0 })
}

// A Redis that reads and takes no writes still has the answer that was given on behalf of a user who signed out here: it
// serves nobody here.
func TestSignOutHoldsForOnBehalfOfWhileRedisTakesNoWrites(t *testing.T) {
	w := breakable(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	here := w.instance()
	assertion := w.assertion(t, u)
	get := func() string { // of a new client: MSAL's own memory knows of no sign-out
		t.Helper()
		return must(t)(here.app().AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope}))
	}
	old := get()
	if get() != old {
		t.Fatal("the token is not shared")
	}
	w.redis.ReadOnly(t)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis did not take succeeded")
	}
	if get() == old {
		t.Error("the token of before the sign-out is served")
	}
	w.redis.Writable()
}

// delaying delays the first question for the time on its way to Redis, so that Redis's clock seems to be ahead by half of that.
type delaying struct{ once atomic.Int64 }

func (d *delaying) DialHook(next redis.DialHook) redis.DialHook { return next }
func (d *delaying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (d *delaying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if hasKeys(cmd, ":response", ":pause") {
			time.Sleep(time.Duration(d.once.Swap(0)))
		}
		return next(ctx, cmd)
	}
}

// A busy machine measures Redis's clock badly and corrects that later, so what comes later may have the earlier stamp. No part of
// a sign-in is lost for it.
func TestSignInIsKeptWhenTheClockIsCorrectedInBetween(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	refuse, slow := &refusing{chosen: isSignOut}, &delaying{}
	rdb := w.client()
	rdb.AddHook(refuse)
	rdb.AddHook(slow)
	here := w.instanceOn(hooked{rdb}, w.sealer(w.keys), options(w.prefix))
	app := here.app()
	slow.once.Store(int64(3 * time.Second))
	here.signIn(app, u)
	must(t)(silent(ctx, app, u.HomeAccountID()))

	refuse.on.Store(true)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	fresh := here.signIn(app, u)
	refuse.on.Store(false)
	eventually(t, "another instance finds the sign-in", func() bool {
		got, err := silent(ctx, w.instance().app(), u.HomeAccountID())
		return err == nil && got.AccessToken == fresh.AccessToken
	})
}

// An instance that has heard of a sign-out and not looked since does not bring the user back when Redis loses all its
// data, tombstones too.
func TestSignOutThatWasHeardOutlivesALossOfRedis(t *testing.T) {
	w := breakable(t)
	users := w.addUsers(2)
	ctx := context.Background()
	never := func(o *msalredis.Options) { o.LocalTTL = time.Hour } // it learns from messages alone
	here, there := w.instance(never), w.instance(never)
	app, elsewhere := here.app(), there.app()
	for _, u := range users {
		here.signIn(app, u)
		must(t)(silent(ctx, elsewhere, u.HomeAccountID()))
	}
	w.listening(t, 2)
	for _, u := range users {
		if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
			t.Fatal(err)
		}
	}
	// Messages are heard in order: who has heard the second has heard the first.
	eventually(t, "the message", func() bool {
		_, err := silent(ctx, elsewhere, users[1].HomeAccountID())
		return err != nil
	})
	w.redis.FlushAll()
	if got, err := silent(ctx, elsewhere, users[0].HomeAccountID()); err == nil {
		t.Errorf("a user who signed out has a token again, with %d bytes", len(got.AccessToken))
	}
}

// Redis loses a record while the tombstone of a sign-out before it is still there: what an instance knows of the sign-in
// after that goes back.
func TestRecordLostAfterASignOutAndASignInIsWrittenBack(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	here := w.instance(func(o *msalredis.Options) { o.LocalTTL = time.Second })
	app := here.app()
	here.signIn(app, u)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	fresh := here.signIn(app, u)
	must(t)(silent(ctx, w.instance().app(), u.HomeAccountID()))
	for _, k := range w.keysOf() {
		if strings.HasSuffix(k, ":tokens") {
			w.redis.admin.Del(ctx, k)
		}
	}
	eventually(t, "here looks at Redis again, and another instance finds the sign-in", func() bool {
		if got, err := silent(ctx, app, u.HomeAccountID()); err != nil || got.AccessToken != fresh.AccessToken {
			t.Fatalf("here: %v", err)
		}
		got, err := silent(ctx, w.instance().app(), u.HomeAccountID())
		return err == nil && got.AccessToken == fresh.AccessToken
	})
}

// On-behalf-of tokens are in MSAL's memory too, by assertion, where nothing but emptying takes them: a sign-out does, at once
// where it is carried out and elsewhere when it is heard. The tokens of others are there again without a request.
func TestSignOutEndsOnBehalfOfTokensInMSALsMemory(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	users := w.addUsers(2)
	here, there := w.instance(), w.instance()
	apps := map[string]confidential.Client{"here": here.app(), "there": there.app()}
	assertions := []string{w.assertion(t, users[0]), w.assertion(t, users[1])}
	obo := func(name string, n int) string {
		return must(t)(apps[name].AcquireTokenOnBehalfOf(ctx, assertions[n], []string{mailScope}))
	}
	var before []string
	for n := range users {
		before = append(before, obo("here", n))
		obo("there", n)
	}
	eventually(t, "both listen", func() bool {
		n, err := w.redis.subscribers(ctx, w.prefix+"*")
		return err == nil && n == 2
	})
	for n, token := range before { // whoever begins to listen has emptied MSAL's memory
		if obo("here", n) != token || obo("there", n) != token {
			t.Fatal("the token is not shared")
		}
	}
	succeeds(t, there.tokens.RemoveAccount(ctx, users[0].HomeAccountID()))
	if obo("there", 0) == before[0] {
		t.Error("a token of before the sign-out serves where it was carried out")
	}
	eventually(t, "no token of before the sign-out serves elsewhere", func() bool { return obo("here", 0) != before[0] })
	w.entra.ResetRequests()
	for name := range apps {
		if obo(name, 1) != before[1] {
			t.Errorf("%s: another user's token is another", name)
		}
	}
	w.count(t, 0, "nobody else has signed out")
}

// The message of a sign-out is lost with the connection to which it is sent: whoever connects again takes what it may have missed for
// a sign-out.
func TestSignOutUnheardEndsOnBehalfOfTokensInMSALsMemory(t *testing.T) {
	if *topology == "restricted" {
		t.Skip("needs CLIENT KILL, which this server refuses")
	}
	ctx := context.Background()
	w := breakable(t)
	u := w.addUsers(1)[0]
	assertion := w.assertion(t, u)
	silence := &refusing{chosen: func(cmd redis.Cmder) bool { return cmd.Name() == "publish" }}
	silence.on.Store(true)
	rdb := w.client()
	rdb.AddHook(silence)
	here, there := w.instance(), w.instanceOn(hooked{rdb}, w.sealer(w.keys), options(w.prefix))
	app := here.app()
	obo := func() string { return must(t)(app.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope})) }
	obo()
	eventually(t, "it listens", func() bool {
		n, err := w.redis.subscribers(ctx, w.prefix+"*")
		return err == nil && n == 1
	})
	before := obo()
	succeeds(t, there.tokens.RemoveAccount(ctx, u.HomeAccountID()))
	w.redis.each(func(s *redistest.Server) { s.Do("CLIENT", "KILL", "TYPE", "pubsub") })
	eventually(t, "no token of before the sign-out serves", func() bool { return obo() != before })
}

// Redis is away, so that nothing but this process can tell that a token was asked for before its removal.
func TestAnswerOfBeforeARemovalServesNobodyWhileRedisIsAway(t *testing.T) {
	ctx := context.Background()
	w := breakable(t)
	u := w.addUsers(1)[0]
	assertion := w.assertion(t, u)
	i := w.instance(quick)
	for name, test := range map[string]struct {
		acquire func(confidential.Client) (confidential.AuthResult, error)
		remove  func() error
	}{
		"an app's token": {func(app confidential.Client) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{graph})
		}, func() error { return i.tokens.ForgetAppTokens(ctx, clientID, tenant) }},
		"an on-behalf-of token": {func(app confidential.Client) (confidential.AuthResult, error) {
			return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope})
		}, func() error { return i.tokens.RemoveAccount(ctx, u.HomeAccountID()) }},
	} {
		app := i.app()
		must(t)(test.acquire(app)) // Redis's time is known
		if err := test.remove(); err != nil && !w.redis.down {
			t.Fatal(err)
		}
		if !w.redis.down {
			w.redis.Kill()
		}
		asked, free := make(chan struct{}), make(chan struct{})
		var once sync.Once
		unhook := w.entra.OnTokenRequest(func(entratest.Request) { once.Do(func() { close(asked); <-free }) })
		var raced string
		done := make(chan struct{})
		go func() { defer close(done); raced = must(t)(test.acquire(app)) }()
		within(t, "the request", asked)
		if err := test.remove(); err == nil {
			t.Errorf("%s: removed, while Redis is away", name)
		}
		close(free)
		within(t, "the answer", done)
		unhook()
		for whose, app := range map[string]confidential.Client{"its client": app, "another client": i.app()} {
			if must(t)(test.acquire(app)) == raced {
				t.Errorf("%s of before its removal serves %s", name, whose)
			}
		}
	}
}

// A sign-out that Redis refused is tried again after the user has signed in elsewhere. It ends the session that there was when it
// was asked for, with all that was refreshed of it since, and leaves the later one, with all that was refreshed of that.
func TestSignOutTriedAgainEndsNoLaterSignInElsewhere(t *testing.T) {
	for _, refreshed := range []bool{false, true} { // the earlier session, after the sign-out was asked for
		for _, again := range []string{"not", "signed in", "signed in and refreshed"} {
			t.Run(fmt.Sprintf("refreshed: %v, then %s", refreshed, again), func(t *testing.T) {
				w := newWorld(t)
				u := w.addUsers(1)[0]
				ctx := context.Background()
				here, refuse := w.refusingSignOuts()
				there := w.instance()
				app, elsewhere := here.app(), there.app()
				account := u.HomeAccountID()
				old := []string{here.signIn(app, u).AccessToken, must(t)(silent(ctx, app, account, mailScope))}
				must(t)(silent(ctx, elsewhere, account))
				w.listening(t, 2)

				refuse.on.Store(true)
				if err := here.tokens.RemoveAccount(ctx, account); err == nil {
					t.Fatal("a sign-out that Redis refused succeeded")
				}
				if refreshed {
					old = append(old, must(t)(silent(ctx, elsewhere, account, filesScope)))
				}
				fresh := map[string]string{}
				later := []string{}
				if again != "not" {
					fresh[userScope] = there.signIn(elsewhere, u).AccessToken
				}
				if again == "signed in and refreshed" { // the newer token is for all that the user has consented to
					later = append(later, fresh[userScope])
					fresh[calendarScope] = must(t)(silent(ctx, elsewhere, account, calendarScope))
					fresh[userScope] = must(t)(silent(ctx, elsewhere, account))
				}
				for _, token := range fresh {
					later = append(later, token)
				}
				refuse.on.Store(false)
				c := &census{all: map[string]point{}}
				eventually(t, "the sign-out is made", func() bool { return c.of(t, here, "msalredis.pending.signouts") == 0 })

				w.entra.ResetRequests()
				for at, x := range map[string]confidential.Client{"a new instance": w.instance().app(), "there": elsewhere, "here": app} {
					if again == "not" {
						eventually(t, at+" the user is signed out", func() bool { _, err := silent(ctx, x, account); return err != nil })
						continue
					}
					for scope := range fresh {
						if got, err := silent(ctx, x, account, scope); err != nil || !slices.Contains(later, got.AccessToken) {
							t.Errorf("%s the later sign-in's token is not kept: %v", at, err)
						}
					}
				}
				w.count(t, 0, "the later session is kept")
				if again == "not" {
					return
				}
				for _, scope := range []string{mailScope, filesScope} {
					if got := must(t)(silent(ctx, w.instance().app(), account, scope)); slices.Contains(old, got) {
						t.Errorf("a token of the earlier session serves %s", scope)
					}
				}
			})
		}
	}
}
