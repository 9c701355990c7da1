package signout_test

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
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// refusingSignOuts is an instance whose sign-outs Redis can be made to refuse.
func refusingSignOuts(w *harness.World) (*harness.Instance, *harness.Refusing) {
	refuse := &harness.Refusing{Chosen: harness.IsSignOut}
	rdb := w.Client()
	rdb.AddHook(refuse)
	return w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix)), refuse
}

// A sign-out that Redis has not taken is tried again until it is done, and then concerns what was there when it was
// asked for: a sign-in that came meanwhile is kept.
func TestSignInAfterAPendingSignOutIsKept(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	here, refuse := refusingSignOuts(w)
	app := here.App()
	old := here.SignIn(app, u)

	refuse.On.Store(true)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	fresh := here.SignIn(app, u)
	refuse.Stores.Store(true)
	refuse.On.Store(false)
	tombstone := func() bool {
		for _, k := range w.KeysOf() {
			if strings.HasSuffix(k, ":tombstone") {
				return true
			}
		}
		return false
	}
	harness.Eventually(t, "the sign-out", tombstone)
	for range 3 { // the sign-out is done and the sign-in waits: here it counts already
		if got, err := harness.Silent(ctx, app, u.HomeAccountID()); err != nil || got.AccessToken != fresh.AccessToken {
			t.Errorf("between the sign-out and the storing of the sign-in: %v", err)
		}
	}
	refuse.Stores.Store(false)
	harness.Eventually(t, "another instance finds the sign-in", func() bool {
		got, err := harness.Silent(ctx, w.Instance().App(), u.HomeAccountID())
		return err == nil && got.AccessToken == fresh.AccessToken && got.AccessToken != old.AccessToken
	})
}

// An instance whose sign-out Redis has not taken, here because it takes no writes, keeps that in mind whatever it has
// to forget for want of memory: else it would take up again what Redis still has.
func TestPendingSignOutOutlivesEviction(t *testing.T) {
	w := harness.Breakable(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	here := w.Instance(func(o *msalredis.Options) { o.LocalBytes = 32 << 10 })
	app := here.App()
	here.SignIn(app, u)
	w.Redis.ReadOnly(t)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	for n := range 12 {
		harness.Must(t)(here.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope},
			confidential.WithTenantID(harness.TenantName(n))))
	}
	for name, app := range map[string]confidential.Client{"the client": app, "another of the process": here.App()} {
		if _, err := harness.Silent(ctx, app, u.HomeAccountID()); err == nil {
			t.Errorf("%s has a token of the user who has signed out", name)
		}
	}
}

// A write that Redis goes on refusing, here a sign-out, keeps no other from being made, and what has been made takes no
// memory from what waits.
func TestWriteThatIsRefusedHoldsNoOtherBack(t *testing.T) {
	w := harness.NewWorld(t)
	users := w.AddUsers(2)
	here, refuse := refusingSignOuts(w)
	app := here.App()
	here.SignIn(app, users[0])
	refuse.On.Store(true)
	if err := here.Tokens.RemoveAccount(context.Background(), users[0].HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	stored := w.Fields()
	before := stored()
	c := &harness.Census{All: map[string]harness.Point{}}
	alone := c.Of(t, here, "msalredis.pending.size")
	refuse.Stores.Store(true)
	here.SignIn(app, users[1])
	if n := stored(); n != before || c.Of(t, here, "msalredis.pending.size") <= alone {
		t.Fatalf("%d entries, had %d: nothing waits behind the sign-out, and this test shows nothing", n, before)
	}
	refuse.Stores.Store(false)
	harness.Eventually(t, "the tokens get there", func() bool { return stored() > before })
	harness.Eventually(t, "the sign-out alone waits", func() bool {
		return c.Of(t, here, "msalredis.pending.size") == alone && c.Of(t, here, "msalredis.pending.writes") == 1
	})
	refuse.On.Store(false)
	harness.Eventually(t, "the sign-out is made", func() bool { return c.Of(t, here, "msalredis.pending.signouts") == 0 })
}

// A Redis that reads and takes no writes still has the answer that was given on behalf of a user who signed out here:
// it serves nobody here.
func TestSignOutHoldsForOnBehalfOfWhileRedisTakesNoWrites(t *testing.T) {
	w := harness.Breakable(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	here := w.Instance()
	assertion := w.Assertion(t, u)
	get := func() string { // of a new client: MSAL's own memory knows of no sign-out
		t.Helper()
		return harness.Must(t)(here.App().AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope}))
	}
	old := get()
	if get() != old {
		t.Fatal("the token is not shared")
	}
	w.Redis.ReadOnly(t)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis did not take succeeded")
	}
	if get() == old {
		t.Error("the token of before the sign-out is served")
	}
	w.Redis.Writable()
}

// delaying delays the first question for the time on its way to Redis, so that Redis's clock seems to be ahead by half
// of that.
type delaying struct{ once atomic.Int64 }

func (d *delaying) DialHook(next redis.DialHook) redis.DialHook { return next }
func (d *delaying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (d *delaying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if harness.HasKeys(cmd, ":response", ":pause") {
			time.Sleep(time.Duration(d.once.Swap(0)))
		}
		return next(ctx, cmd)
	}
}

// A busy machine measures Redis's clock badly and corrects that later, so what comes later may have the earlier stamp.
// No part of a sign-in is lost for it.
func TestSignInIsKeptWhenTheClockIsCorrectedInBetween(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	refuse, slow := &harness.Refusing{Chosen: harness.IsSignOut}, &delaying{}
	rdb := w.Client()
	rdb.AddHook(refuse)
	rdb.AddHook(slow)
	here := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	app := here.App()
	slow.once.Store(int64(3 * time.Second))
	here.SignIn(app, u)
	harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID()))

	refuse.On.Store(true)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	fresh := here.SignIn(app, u)
	refuse.On.Store(false)
	harness.Eventually(t, "another instance finds the sign-in", func() bool {
		got, err := harness.Silent(ctx, w.Instance().App(), u.HomeAccountID())
		return err == nil && got.AccessToken == fresh.AccessToken
	})
}

// An instance that has heard of a sign-out and not looked since does not bring the user back when Redis loses all its
// data, tombstones too.
func TestSignOutThatWasHeardOutlivesALossOfRedis(t *testing.T) {
	w := harness.Breakable(t)
	users := w.AddUsers(2)
	ctx := context.Background()
	never := func(o *msalredis.Options) { o.LocalTTL = time.Hour } // it learns from messages alone
	here, there := w.Instance(never), w.Instance(never)
	app, elsewhere := here.App(), there.App()
	for _, u := range users {
		here.SignIn(app, u)
		harness.Must(t)(harness.Silent(ctx, elsewhere, u.HomeAccountID()))
	}
	w.Listening(t, 2)
	for _, u := range users {
		if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
			t.Fatal(err)
		}
	}
	// Messages are heard in order: who has heard the second has heard the first.
	harness.Eventually(t, "the message", func() bool {
		_, err := harness.Silent(ctx, elsewhere, users[1].HomeAccountID())
		return err != nil
	})
	w.Redis.FlushAll()
	if got, err := harness.Silent(ctx, elsewhere, users[0].HomeAccountID()); err == nil {
		t.Errorf("a user who signed out has a token again, with %d bytes", len(got.AccessToken))
	}
}

// Redis loses a record while the tombstone of a sign-out before it is still there: what an instance knows of the
// sign-in after that goes back.
func TestRecordLostAfterASignOutAndASignInIsWrittenBack(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	here := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Second })
	app := here.App()
	here.SignIn(app, u)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	fresh := here.SignIn(app, u)
	harness.Must(t)(harness.Silent(ctx, w.Instance().App(), u.HomeAccountID()))
	for _, k := range w.KeysOf() {
		if strings.HasSuffix(k, ":tokens") {
			w.Redis.Admin.Del(ctx, k)
		}
	}
	harness.Eventually(t, "here looks at Redis again, and another instance finds the sign-in", func() bool {
		if got, err := harness.Silent(ctx, app, u.HomeAccountID()); err != nil || got.AccessToken != fresh.AccessToken {
			t.Fatalf("here: %v", err)
		}
		got, err := harness.Silent(ctx, w.Instance().App(), u.HomeAccountID())
		return err == nil && got.AccessToken == fresh.AccessToken
	})
}

// On-behalf-of tokens are in MSAL's memory too, by assertion, where nothing but emptying takes them: a sign-out does,
// at once where it is carried out and elsewhere when it is heard. The tokens of others are there again without a
// request.
func TestSignOutEndsOnBehalfOfTokensInMSALsMemory(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	users := w.AddUsers(2)
	here, there := w.Instance(), w.Instance()
	apps := map[string]confidential.Client{"here": here.App(), "there": there.App()}
	assertions := []string{w.Assertion(t, users[0]), w.Assertion(t, users[1])}
	obo := func(name string, n int) string {
		return harness.Must(t)(apps[name].AcquireTokenOnBehalfOf(ctx, assertions[n], []string{harness.MailScope}))
	}
	var before []string
	for n := range users {
		before = append(before, obo("here", n))
		obo("there", n)
	}
	harness.Eventually(t, "both listen", func() bool {
		n, err := w.Redis.Subscribers(ctx, w.Prefix+"*")
		return err == nil && n == 2
	})
	for n, token := range before { // whoever begins to listen has emptied MSAL's memory
		if obo("here", n) != token || obo("there", n) != token {
			t.Fatal("the token is not shared")
		}
	}
	harness.Succeeds(t, there.Tokens.RemoveAccount(ctx, users[0].HomeAccountID()))
	if obo("there", 0) == before[0] {
		t.Error("a token of before the sign-out serves where it was carried out")
	}
	harness.Eventually(t, "no token of before the sign-out serves elsewhere", func() bool {
		return obo("here", 0) != before[0]
	})
	w.Entra.ResetRequests()
	for name := range apps {
		if obo(name, 1) != before[1] {
			t.Errorf("%s: another user's token is another", name)
		}
	}
	w.Count(t, 0, "nobody else has signed out")
}

// The message of a sign-out is lost with the connection to which it is sent: whoever connects again takes what it may
// have missed for a sign-out.
func TestSignOutUnheardEndsOnBehalfOfTokensInMSALsMemory(t *testing.T) {
	if harness.Topology == "restricted" {
		t.Skip("needs CLIENT KILL, which this server refuses")
	}
	ctx := context.Background()
	w := harness.Breakable(t)
	u := w.AddUsers(1)[0]
	assertion := w.Assertion(t, u)
	silence := &harness.Refusing{Chosen: func(cmd redis.Cmder) bool { return cmd.Name() == "publish" }}
	silence.On.Store(true)
	rdb := w.Client()
	rdb.AddHook(silence)
	here := w.Instance()
	there := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	app := here.App()
	obo := func() string {
		return harness.Must(t)(app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope}))
	}
	obo()
	harness.Eventually(t, "it listens", func() bool {
		n, err := w.Redis.Subscribers(ctx, w.Prefix+"*")
		return err == nil && n == 1
	})
	before := obo()
	harness.Succeeds(t, there.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
	w.Redis.Each(func(s *redistest.Server) { s.Do("CLIENT", "KILL", "TYPE", "pubsub") })
	harness.Eventually(t, "no token of before the sign-out serves", func() bool { return obo() != before })
}

// Redis is away, so that nothing but this process can tell that a token was asked for before its removal.
func TestAnswerOfBeforeARemovalServesNobodyWhileRedisIsAway(t *testing.T) {
	ctx := context.Background()
	w := harness.Breakable(t)
	u := w.AddUsers(1)[0]
	assertion := w.Assertion(t, u)
	i := w.Instance(harness.ShortOpTimeout)
	for name, test := range map[string]struct {
		acquire func(confidential.Client) (confidential.AuthResult, error)
		remove  func() error
	}{
		"an app's token": {func(app confidential.Client) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
		}, func() error { return i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant) }},
		"an on-behalf-of token": {func(app confidential.Client) (confidential.AuthResult, error) {
			return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope})
		}, func() error { return i.Tokens.RemoveAccount(ctx, u.HomeAccountID()) }},
	} {
		app := i.App()
		harness.Must(t)(test.acquire(app)) // Redis's time is known
		if err := test.remove(); err != nil && !w.Redis.Down {
			t.Fatal(err)
		}
		if !w.Redis.Down {
			w.Redis.Kill()
		}
		asked, free := make(chan struct{}), make(chan struct{})
		var once sync.Once
		unhook := w.Entra.OnTokenRequest(func(entratest.Request) { once.Do(func() { close(asked); <-free }) })
		var raced string
		done := make(chan struct{})
		go func() { defer close(done); raced = harness.Must(t)(test.acquire(app)) }()
		harness.Within(t, "the request", asked)
		if err := test.remove(); err == nil {
			t.Errorf("%s: removed, while Redis is away", name)
		}
		close(free)
		harness.Within(t, "the answer", done)
		unhook()
		for whose, app := range map[string]confidential.Client{"its client": app, "another client": i.App()} {
			if harness.Must(t)(test.acquire(app)) == raced {
				t.Errorf("%s of before its removal serves %s", name, whose)
			}
		}
	}
}

// A sign-out that Redis refused is tried again after the user has signed in elsewhere. It ends the session that there
// was when it was asked for, with all that was refreshed of it since, and leaves the later one, with all that was
// refreshed of that.
func TestSignOutTriedAgainEndsNoLaterSignInElsewhere(t *testing.T) {
	for _, refreshed := range []bool{false, true} { // the earlier session, after the sign-out was asked for
		for _, again := range []string{"not", "signed in", "signed in and refreshed"} {
			t.Run(fmt.Sprintf("refreshed: %v, then %s", refreshed, again), func(t *testing.T) {
				w := harness.NewWorld(t)
				u := w.AddUsers(1)[0]
				ctx := context.Background()
				here, refuse := refusingSignOuts(w)
				there := w.Instance()
				app, elsewhere := here.App(), there.App()
				account := u.HomeAccountID()
				old := []string{here.SignIn(app, u).AccessToken,
					harness.Must(t)(harness.Silent(ctx, app, account, harness.MailScope))}
				harness.Must(t)(harness.Silent(ctx, elsewhere, account))
				w.Listening(t, 2)

				refuse.On.Store(true)
				if err := here.Tokens.RemoveAccount(ctx, account); err == nil {
					t.Fatal("a sign-out that Redis refused succeeded")
				}
				if refreshed {
					old = append(old, harness.Must(t)(harness.Silent(ctx, elsewhere, account, harness.FilesScope)))
				}
				fresh := map[string]string{}
				later := []string{}
				if again != "not" {
					fresh[harness.UserScope] = there.SignIn(elsewhere, u).AccessToken
				}
				if again == "signed in and refreshed" { // the newer token is for all that the user has consented to
					later = append(later, fresh[harness.UserScope])
					fresh[harness.CalendarScope] = harness.Must(t)(harness.Silent(ctx, elsewhere, account, harness.CalendarScope))
					fresh[harness.UserScope] = harness.Must(t)(harness.Silent(ctx, elsewhere, account))
				}
				for _, token := range fresh {
					later = append(later, token)
				}
				refuse.On.Store(false)
				c := &harness.Census{All: map[string]harness.Point{}}
				harness.Eventually(t, "the sign-out is made", func() bool {
					return c.Of(t, here, "msalredis.pending.signouts") == 0
				})

				w.Entra.ResetRequests()
				for at, x := range map[string]confidential.Client{
					"a new instance": w.Instance().App(), "there": elsewhere, "here": app,
				} {
					if again == "not" {
						harness.Eventually(t, at+" the user is signed out", func() bool {
							_, err := harness.Silent(ctx, x, account)
							return err != nil
						})
						continue
					}
					for scope := range fresh {
						if got, err := harness.Silent(ctx, x, account, scope); err != nil || !slices.Contains(later, got.AccessToken) {
							t.Errorf("%s the later sign-in's token is not kept: %v", at, err)
						}
					}
				}
				w.Count(t, 0, "the later session is kept")
				if again == "not" {
					return
				}
				for _, scope := range []string{harness.MailScope, harness.FilesScope} {
					if got := harness.Must(t)(harness.Silent(ctx, w.Instance().App(), account, scope)); slices.Contains(old, got) {
						t.Errorf("a token of the earlier session serves %s", scope)
					}
				}
			})
		}
	}
}
