package signout_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// Tests of what the fault run found (bench/faultrun): sign-ins that were lost, and sessions that came back.

// A refresh of a session that began after a sign-out which Redis has not taken belongs to that session: the sign-out,
// when it is carried out, does not take the new refresh token for one of before.
func TestRefreshBehindAPendingSignOutIsKept(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	here, refuse := refusingSignOuts(w)
	app := here.App()
	here.SignIn(app, u)

	refuse.On.Store(true)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	here.SignIn(app, u)
	fresh := harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope))
	refuse.On.Store(false)
	harness.Eventually(t, "another instance finds the refreshed token", func() bool {
		got, err := harness.Silent(ctx, w.Instance().App(), u.HomeAccountID(), harness.MailScope)
		return err == nil && got.AccessToken == fresh
	})
	harness.Must(t)(harness.Silent(ctx, w.Instance().App(), u.HomeAccountID(), harness.FilesScope))
}

// held keeps the first chosen command from its way until it is let go.
type held struct {
	chosen func(redis.Cmder) bool
	once   atomic.Bool
	here   chan struct{} // closed when there is one
	free   chan struct{}
	done   chan struct{} // closed when it has been carried out
}

func newHeld(chosen func(redis.Cmder) bool) *held {
	return &held{chosen: chosen, here: make(chan struct{}), free: make(chan struct{}), done: make(chan struct{})}
}

func (h *held) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *held) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h *held) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !h.chosen(cmd) || !h.once.CompareAndSwap(false, true) {
			return next(ctx, cmd)
		}
		close(h.here)
		<-h.free
		err := next(context.WithoutCancel(ctx), cmd)
		if noScript := err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT"); !noScript {
			close(h.done)
		}
		return err
	}
}

// A sign-out that was long on its way, after others and sign-ins have been made, does not end the last of them.
func TestSignOutLongOnItsWayEndsNoLaterSession(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	late := newHeld(harness.IsSignOut)
	rdb := w.Client()
	here := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	app := here.App()
	here.SignIn(app, u)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil { // Redis knows the script from here on
		t.Fatal(err)
	}
	here.SignIn(app, u)
	rdb.AddHook(late)

	leaving, leave := context.WithCancel(ctx)
	go func() { <-late.here; leave() }()
	if err := here.Tokens.RemoveAccount(leaving, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that is on its way succeeded")
	}
	here.SignIn(app, u)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	last := here.SignIn(app, u)
	close(late.free)
	<-late.done
	got := harness.Must(t)(harness.Silent(ctx, w.Instance().App(), u.HomeAccountID()))
	if got != last.AccessToken {
		t.Error("another instance has another session's token")
	}
}

// The answer to it comes after all of that, too, and the instance forgets nothing of the last session: it knows it also
// where Redis goes away then.
func TestAnswerToAnOldSignOutForgetsNothing(t *testing.T) {
	w := harness.NewWorld(t)
	u, ctx := w.AddUsers(1)[0], context.Background()
	late, away, rdb := newHeld(harness.IsSignOut), &gone{}, w.Client()
	here := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	app := here.App()
	here.SignIn(app, u)
	signOut := func(ctx context.Context) error { return here.Tokens.RemoveAccount(ctx, u.HomeAccountID()) }
	if err := signOut(ctx); err != nil { // Redis knows the script from here on
		t.Fatal(err)
	}
	here.SignIn(app, u)
	rdb.AddHook(late)
	rdb.AddHook(away)
	leaving, leave := context.WithCancel(ctx)
	go func() { <-late.here; leave() }()
	if err := signOut(leaving); err == nil {
		t.Fatal("a sign-out that is on its way succeeded")
	}
	here.SignIn(app, u)
	if err := signOut(ctx); err != nil {
		t.Fatal(err)
	}
	last := here.SignIn(app, u)
	news := w.Client().Subscribe(ctx, w.Prefix+":v1:changes")
	defer news.Close()
	if _, err := news.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	close(late.free)
	if _, err := news.ReceiveMessage(ctx); err != nil { // told last
		t.Fatal(err)
	}
	away.on.Store(true)
	if got := harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())); got != last.AccessToken {
		t.Error("here: another token than the last session's")
	}
}

// An instance whose sign-out Redis has not taken does not go back to the session that Redis still has.
func TestPendingSignOutIsNotForgottenByALook(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	here, refuse := refusingSignOuts(w)
	app := here.App()
	here.SignIn(app, u)
	refuse.On.Store(true)
	defer refuse.On.Store(false)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	for range 3 {
		if _, err := harness.Silent(ctx, app, u.HomeAccountID()); err == nil {
			t.Fatal("the instance that signed the user out hands out the user's token")
		}
	}
}

// tokensKey is the one user's record.
func tokensKey(w *harness.World, t *testing.T) string {
	t.Helper()
	for _, k := range w.KeysOf() {
		if strings.HasSuffix(k, ":tokens") {
			return k
		}
	}
	t.Fatal("there is no record")
	return ""
}

// A failover loses the last writes: Redis then has an older refresh token, which rotation has killed, and the instance
// that redeemed it knows the newer one. It brings it back, instead of taking the older one over.
func TestOlderRecordAfterAFailoverIsBroughtUpToDate(t *testing.T) {
	for _, what := range []string{"older", "some gone", "all gone"} {
		t.Run(what, func(t *testing.T) {
			w := harness.NewWorld(t)
			w.Rotating()
			u := w.AddUsers(1)[0]
			ctx := context.Background()
			here := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Second })
			app := here.App()
			here.SignIn(app, u)
			key := tokensKey(w, t)
			before := w.Client().HGetAll(ctx, key).Val()
			fresh := harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope))

			rdb := w.Redis.Admin
			after := rdb.HGetAll(ctx, key).Val()
			switch what {
			case "older":
				rdb.Del(ctx, key)
				rdb.HSet(ctx, key, before)
			case "some gone":
				for field, value := range after {
					if field != "v" && before[field] != value {
						rdb.HDel(ctx, key, field)
					}
				}
				rdb.HSet(ctx, key, "v", "1")
			case "all gone":
				rdb.Del(ctx, key)
			}
			harness.Eventually(t, "here looks at Redis again, and another instance finds the newer token", func() bool {
				got, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)
				if err != nil || got.AccessToken != fresh {
					t.Fatalf("here: %v", err)
				}
				return rdb.HLen(ctx, key).Val() == int64(len(after))
			})
			harness.Must(t)(harness.Silent(ctx, w.Instance().App(), u.HomeAccountID(), harness.FilesScope))
		})
	}
}

// A failover may lose a sign-out together with the sign-in after it. Redis then has an older tombstone, or none, and
// the instance that signed the user in again knows better.
func TestSignInAfterALostSignOutIsBroughtBack(t *testing.T) {
	for _, earlier := range []bool{true, false} {
		t.Run(fmt.Sprintf("an earlier sign-out: %v", earlier), func(t *testing.T) {
			w := harness.NewWorld(t)
			u, ctx := w.AddUsers(1)[0], context.Background()
			here := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Second })
			app := here.App()
			here.SignIn(app, u)
			key, rdb := tokensKey(w, t), w.Redis.Admin
			tombstone := strings.TrimSuffix(key, ":tokens") + ":tombstone"
			again := func() string {
				t.Helper()
				if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
					t.Fatal(err)
				}
				return here.SignIn(app, u).AccessToken
			}
			if earlier {
				again()
			}
			before, _ := rdb.Get(ctx, tombstone).Result()
			last := again()
			lost := rdb.Get(ctx, tombstone).Val()
			rdb.Del(ctx, key, tombstone)
			if earlier {
				rdb.Set(ctx, tombstone, before, time.Minute)
			}
			back := func() {
				t.Helper()
				harness.Eventually(t, "here looks at Redis again, and brings the session back", func() bool {
					if got := harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())); got != last {
						t.Fatal("another token than the last sign-in's")
					}
					return rdb.HLen(ctx, key).Val() > 1
				})
			}
			back()
			// Then a replica takes over that has been cut off since the sign-out.
			rdb.Del(ctx, key)
			rdb.Set(ctx, tombstone, lost, time.Minute)
			back()
			if got := harness.Must(t)(harness.Silent(ctx, w.Instance().App(), u.HomeAccountID())); got != last {
				t.Error("elsewhere: another token than the last sign-in's")
			}
		})
	}
}

// A tombstone expires, and nothing is new for that: an instance does not ask Redis at each call from then on.
func TestExpiredTombstoneIsNoNews(t *testing.T) {
	w := harness.NewWorld(t)
	u, ctx := w.AddUsers(1)[0], context.Background()
	looks := &counting{chosen: func(cmd redis.Cmder) bool {
		return harness.HasKeys(cmd, ":tokens", ":tombstone") && !harness.IsStore(cmd)
	}}
	watched, o := w.Client(), harness.Options(w.Prefix)
	o.LocalTTL = 2 * time.Second
	here := w.InstanceOn(harness.Hooked{UniversalClient: watched}, w.Sealer(w.Keys), o)
	app := here.App()
	here.SignIn(app, u)
	if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	here.SignIn(app, u)
	harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID()))
	watched.AddHook(looks)
	w.Client().Del(ctx, strings.TrimSuffix(tokensKey(w, t), ":tokens")+":tombstone")
	harness.Eventually(t, "here looks at Redis again", func() bool {
		harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID()))
		return looks.n.Load() > 0
	})
	before := looks.n.Load()
	for range 50 {
		harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID()))
	}
	if n := looks.n.Load() - before; n > 10 {
		t.Errorf("50 calls within LocalTTL asked Redis %d times", n)
	}
}

// A damaged value is a miss for who does not know what it was. Who knows puts it right, and is asked to, because
// nothing else would make it read the record again.
func TestDamagedValueIsPutRightByWhoKnowsIt(t *testing.T) {
	for what, damage := range map[string]func(string) string{
		"a changed byte":         func(v string) string { return v[:len(v)-1] + string([]byte{v[len(v)-1] ^ 1}) },
		"a changed stamp":        func(v string) string { return "9" + v[1:] },
		"a changed key id":       func(v string) string { return v[:30] + strings.Repeat("x", 14) + v[44:] },
		"cut off":                func(v string) string { return v[:40] },
		"something else":         func(string) string { return "hello" },
		"a value of another day": func(v string) string { return v[:15] + "7" + v[16:] },
	} {
		t.Run(what, func(t *testing.T) {
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			ctx := context.Background()
			here := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
			app := here.App()
			fresh := here.SignIn(app, u)
			harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())) // it listens
			rdb, key := w.Client(), tokensKey(w, t)
			harness.Eventually(t, "the subscription", func() bool {
				n, err := w.Redis.Subscribers(ctx, w.Prefix+":v1:changes")
				return err == nil && n >= 1
			})
			for field, value := range rdb.HGetAll(ctx, key).Val() {
				if field != "v" {
					rdb.HSet(ctx, key, field, damage(value))
				}
			}
			harness.Eventually(t, "another instance finds the sign-in", func() bool {
				got, err := harness.Silent(ctx, w.Instance().App(), u.HomeAccountID())
				return err == nil && got.AccessToken == fresh.AccessToken
			})
			harness.Must(t)(harness.Silent(ctx, w.Instance().App(), u.HomeAccountID(), harness.FilesScope))
		})
	}
}

// Who finds a damaged value that it knows nothing of asks the others, once. Who reads the record because it was asked
// says nothing: two who do not know would ask one another for ever.
func TestDamageIsAskedAboutOnce(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	who := w.Instance()
	who.SignIn(who.App(), u)
	if err := who.Tokens.Close(); err != nil {
		t.Fatal(err)
	}
	rdb, key := w.Client(), tokensKey(w, t)
	for field, value := range rdb.HGetAll(ctx, key).Val() {
		if field != "v" {
			rdb.HSet(ctx, key, field, value[:len(value)-1])
		}
	}
	channel := w.Prefix + ":v1:changes"
	asks := &counting{chosen: func(cmd redis.Cmder) bool { return strings.EqualFold(cmd.Name(), "publish") }}
	looks := &counting{chosen: func(cmd redis.Cmder) bool {
		return harness.HasKeys(cmd, ":tokens", ":tombstone") && !harness.IsStore(cmd)
	}}
	watched := w.Client()
	watched.AddHook(asks)
	watched.AddHook(looks)
	app := w.InstanceOn(harness.Hooked{UniversalClient: watched}, w.Sealer(w.Keys), harness.Options(w.Prefix)).App()
	harness.Eventually(t, "it asks and listens", func() bool {
		_, err := harness.Silent(ctx, app, u.HomeAccountID())
		if err == nil {
			t.Fatal("a token of a record that is damaged")
		}
		n, err := w.Redis.Subscribers(ctx, channel)
		return err == nil && n >= 1 && asks.n.Load() >= 1
	})
	before := asks.n.Load()
	for range 10 {
		n := looks.n.Load()
		// More than once: who is asked while it looks does not look again.
		harness.Eventually(t, "it looks, for it is asked", func() bool {
			rdb.Publish(ctx, channel, "another "+pidOf(key)+" damaged")
			return looks.n.Load() > n
		})
	}
	if n := asks.n.Load(); n != before {
		t.Errorf("it has asked %d times back", n-before)
	}
}

// While a process repairs a record it may read it again: it still knows what it repairs, and Redis may lose that anew.
func TestLookDuringARepairForgetsNothing(t *testing.T) {
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	watched, o := w.Client(), harness.Options(w.Prefix)
	o.LocalTTL = time.Hour
	here := w.InstanceOn(harness.Hooked{UniversalClient: watched}, w.Sealer(w.Keys), o)
	app := here.App()
	here.SignIn(app, u)
	harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())) // it listens
	w.Listening(t, 1)
	rdb, key := w.Client(), tokensKey(w, t)
	for field, value := range rdb.HGetAll(ctx, key).Val() {
		if field != "v" {
			rdb.HSet(ctx, key, field, value[:len(value)-1])
		}
	}
	looks := &counting{chosen: func(cmd redis.Cmder) bool {
		return harness.HasKeys(cmd, ":tokens", ":tombstone") && !harness.IsStore(cmd)
	}}
	repair := newHeld(harness.IsStore)
	watched.AddHook(looks)
	watched.AddHook(repair)
	ask := func() { rdb.Publish(ctx, w.Prefix+":v1:changes", "another "+pidOf(key)+" damaged") }
	ask()
	<-repair.here
	before := looks.n.Load()
	ask()
	harness.Eventually(t, "it looks again", func() bool { return looks.n.Load() > before })
	close(repair.free)
	<-repair.done
	rdb.Del(ctx, key)
	harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID(), harness.FilesScope))
}

// pidOf is the partition in the name of a key.
func pidOf(key string) string {
	_, pid, _ := strings.Cut(key, "{")
	pid, _, _ = strings.Cut(pid, "}")
	return pid
}

// News of a sign-out that an instance knows of, as they come late over a slow connection, and of one that nobody can
// have made, take nothing from it: what Redis loses then it still brings back.
func TestNewsOfNoNewSignOutForgetNothing(t *testing.T) {
	for what, generation := range map[string]func(known int64) int64{
		"a known one":           func(known int64) int64 { return known },
		"one of a time to come": func(int64) int64 { return 9e15 },
	} {
		t.Run(what, func(t *testing.T) {
			w := harness.NewWorld(t)
			u, ctx := w.AddUsers(1)[0], context.Background()
			here := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
			app := here.App()
			here.SignIn(app, u)
			if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Fatal(err)
			}
			last := here.SignIn(app, u)
			harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())) // it listens
			w.Listening(t, 1)
			rdb, key := w.Client(), tokensKey(w, t)
			tombstone := strings.TrimSuffix(key, ":tokens") + ":tombstone"
			text, _, _ := strings.Cut(rdb.Get(ctx, tombstone).Val(), " ")
			known, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			rdb.Del(ctx, key, tombstone)
			for _, g := range []int64{generation(known), 0} { // the latter makes it look
				removed := layout.Tombstone{Whole: redistime.Time(g)}
				news := layout.Change{From: "another", ID: layout.ID(pidOf(key)), Removed: removed}
				rdb.Publish(ctx, w.Prefix+":v1:changes", news.String())
			}
			harness.Eventually(t, "another instance finds the sign-in", func() bool {
				got, err := harness.Silent(ctx, w.Instance().App(), u.HomeAccountID())
				return err == nil && got.AccessToken == last.AccessToken
			})
		})
	}
}

// gone lets nothing through while it is on, as a Redis that is away.
type gone struct{ on atomic.Bool }

func (g *gone) DialHook(next redis.DialHook) redis.DialHook { return next }
func (g *gone) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (g *gone) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if g.on.Load() {
			err := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

// An instance that has heard of a sign-out hands out nothing of before it, also where it cannot ask Redis at the next
// call, and what it was fetching meanwhile does not come back when Redis has lost the tombstone.
func TestSignOutIsHeardBeforeRedisGoesAway(t *testing.T) {
	w := harness.NewWorld(t)
	users := w.AddUsers(2)
	u, ctx := users[0], context.Background()
	here := w.Instance()
	looks := &counting{chosen: func(cmd redis.Cmder) bool {
		return harness.HasKeys(cmd, ":tokens", ":tombstone") && !harness.IsStore(cmd)
	}}
	away, watched, o := &gone{}, w.Client(), harness.Options(w.Prefix)
	watched.AddHook(looks)
	watched.AddHook(away)
	o.LocalTTL = time.Hour
	there := w.InstanceOn(harness.Hooked{UniversalClient: watched}, w.Sealer(w.Keys), o).App()
	for _, u := range users {
		here.SignIn(here.App(), u)
		harness.Must(t)(harness.Silent(ctx, there, u.HomeAccountID()))
	}
	w.Listening(t, 2)

	// A refresh is on its way to Entra ID while the user signs out here.
	asked, free := make(chan struct{}), make(chan struct{})
	remove := w.Entra.OnTokenRequest(func(r entratest.Request) {
		if r.Grant == "refresh_token" {
			close(asked)
			<-free
		}
	})
	refresh := make(chan error, 1)
	go func() { _, err := harness.Silent(ctx, there, u.HomeAccountID(), harness.MailScope); refresh <- err }()
	<-asked
	remove()
	for _, u := range users {
		if err := here.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
			t.Fatal(err)
		}
	}
	before := looks.n.Load()
	harness.Eventually(t, "the second sign-out, and so the first, is heard there", func() bool {
		_, _ = harness.Silent(ctx, there, users[1].HomeAccountID())
		return looks.n.Load() > before
	})
	away.on.Store(true)
	if _, err := harness.Silent(ctx, there, u.HomeAccountID()); err == nil {
		t.Error("there: a token of before the sign-out while Redis is away")
	}
	for _, key := range w.KeysOf() {
		if strings.Contains(key, "{") {
			w.Client().Del(ctx, key)
		}
	}
	close(free)
	<-refresh // its caller may have a token: the call began before the sign-out
	away.on.Store(false)
	harness.Eventually(t, "there asks Redis again", func() bool {
		before := looks.n.Load()
		if _, err := harness.Silent(ctx, there, u.HomeAccountID(), harness.MailScope); err == nil {
			t.Fatal("there: the session is back")
		}
		return looks.n.Load() > before
	})
	if _, err := harness.Silent(ctx, w.Instance().App(), u.HomeAccountID(), harness.MailScope); err == nil {
		t.Error("elsewhere: the session is back")
	}
}

// An on-behalf-of answer that was asked for before the user signed out is kept nowhere, and serves nobody while Redis
// is away; whether the sign-out comes before the answer is listed or before it is kept, and also where its message is
// lost.
func TestAnswerOfBeforeASignOutIsNotKept(t *testing.T) {
	for _, at := range []string{"list answer", "keep answer"} {
		t.Run(at, func(t *testing.T) {
			w := harness.NewWorld(t)
			u, ctx := w.AddUsers(1)[0], context.Background()
			away, watched := &gone{}, w.Client()
			stop := newHeld(func(cmd redis.Cmder) bool { return harness.StepOf(cmd) == at })
			watched.AddHook(away)
			watched.AddHook(stop)
			here := w.InstanceOn(harness.Hooked{UniversalClient: watched}, w.Sealer(w.Keys), harness.Options(w.Prefix))
			assertion := w.Assertion(t, u)
			early := make(chan string, 1)
			go func() {
				got, _ := here.App().AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope})
				early <- got.AccessToken
			}()
			<-stop.here
			silenced := &harness.Refusing{Chosen: func(cmd redis.Cmder) bool { return strings.EqualFold(cmd.Name(), "publish") }}
			silenced.On.Store(true)
			rdb := w.Client()
			rdb.AddHook(silenced)
			there := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
			if err := there.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Fatal(err)
			}
			close(stop.free)
			before := <-early
			away.on.Store(true)
			after := harness.Must(t)(here.App().AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope}))
			if after == before {
				t.Error("while Redis is away it hands out a token that was asked for before the sign-out")
			}
		})
	}
}

// counting counts chosen commands.
type counting struct {
	chosen func(redis.Cmder) bool
	n      atomic.Int64
}

func (c *counting) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if c.chosen(cmd) {
			c.n.Add(1)
		}
		return err
	}
}

// During a roll-out values are there that an older instance cannot read: sealed with a key that it does not have yet,
// newer than what it knows. It leaves them alone, and goes on with what it has.
func TestValueOfAnUnknownKeyIsNotPutRight(t *testing.T) {
	w := harness.NewWorld(t)
	w.Rotating()
	u := w.AddUsers(1)[0]
	ctx := context.Background()
	o := harness.Options(w.Prefix)
	o.LocalTTL = time.Second
	looks, watched := &counting{chosen: func(cmd redis.Cmder) bool {
		return harness.HasKeys(cmd, ":tokens", ":tombstone") && !harness.IsStore(cmd)
	}}, w.Client()
	watched.AddHook(looks)
	old := w.InstanceOn(harness.Hooked{UniversalClient: watched}, w.Sealer(w.Keys), o)
	app := old.App()
	known := old.SignIn(app, u)
	next, err := serializer.GenerateKey("k2")
	if err != nil {
		t.Fatal(err)
	}
	i := w.InstanceOn(w.Client(), w.Sealer(next.Export()+","+w.Keys), harness.Options(w.Prefix))
	fresh := harness.Must(t)(harness.Silent(ctx, i.App(), u.HomeAccountID(), harness.MailScope))
	rdb, key := w.Client(), tokensKey(w, t)
	want := rdb.HGetAll(ctx, key).Val()
	before := looks.n.Load()
	harness.Eventually(t, "the old instance looks again", func() bool {
		if got := harness.Must(t)(harness.Silent(ctx, app, u.HomeAccountID())); got != known.AccessToken {
			t.Fatal("the old instance has another token than before")
		}
		return looks.n.Load() > before+1
	})
	if got := rdb.HGetAll(ctx, key).Val(); !maps.Equal(got, want) {
		t.Error("the old instance changed the record")
	}
	knows := w.InstanceOn(w.Client(), w.Sealer(next.Export()+","+w.Keys), harness.Options(w.Prefix)).App()
	if got := harness.Must(t)(harness.Silent(ctx, knows, u.HomeAccountID(), harness.MailScope)); got != fresh {
		t.Error("the new token is gone")
	}
}
