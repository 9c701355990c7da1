package msalredis_test

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
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Tests of what the fault run found (internal/faultrun): sign-ins that were lost, and sessions that came back.

// A refresh of a session whose sign-in waits behind a sign-out belongs to that session: the sign-out, when it is carried
// out, does not take the new refresh token for one of before.
func TestRefreshBehindAPendingSignOutIsKept(t *testing.T) {
	w := newWorld(t)
	w.rotating()
	u := w.addUsers(1)[0]
	ctx := context.Background()
	here, refuse := w.refusingSignOuts()
	app := here.app()
	here.signIn(app, u)

	refuse.on.Store(true)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	here.signIn(app, u)
	fresh := must(t)(silent(ctx, app, u.HomeAccountID(), mailScope))
	refuse.on.Store(false)
	eventually(t, "another instance finds the refreshed token", func() bool {
		got, err := silent(ctx, w.instance().app(), u.HomeAccountID(), mailScope)
		return err == nil && got.AccessToken == fresh
	})
	must(t)(silent(ctx, w.instance().app(), u.HomeAccountID(), filesScope))
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
	w := newWorld(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	late := newHeld(isSignOut)
	rdb := w.client()
	here := w.instanceOn(hooked{rdb}, w.sealer(w.keys), options(w.prefix))
	app := here.app()
	here.signIn(app, u)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil { // Redis knows the script from here on
		t.Fatal(err)
	}
	here.signIn(app, u)
	rdb.AddHook(late)

	leaving, leave := context.WithCancel(ctx)
	go func() { <-late.here; leave() }()
	if err := here.tokens.RemoveAccount(leaving, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that is on its way succeeded")
	}
	here.signIn(app, u)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	last := here.signIn(app, u)
	close(late.free)
	<-late.done
	got := must(t)(silent(ctx, w.instance().app(), u.HomeAccountID()))
	if got != last.AccessToken {
		t.Error("another instance has another session's token")
	}
}

// The answer to it comes after all of that, too, and the instance forgets nothing of the last session: it knows it also where
// Redis goes away then.
func TestAnswerToAnOldSignOutForgetsNothing(t *testing.T) {
	w := newWorld(t)
	u, ctx := w.addUsers(1)[0], context.Background()
	late, away, rdb := newHeld(isSignOut), &gone{}, w.client()
	here := w.instanceOn(hooked{rdb}, w.sealer(w.keys), options(w.prefix))
	app := here.app()
	here.signIn(app, u)
	signOut := func(ctx context.Context) error { return here.tokens.RemoveAccount(ctx, u.HomeAccountID()) }
	if err := signOut(ctx); err != nil { // Redis knows the script from here on
		t.Fatal(err)
	}
	here.signIn(app, u)
	rdb.AddHook(late)
	rdb.AddHook(away)
	leaving, leave := context.WithCancel(ctx)
	go func() { <-late.here; leave() }()
	if err := signOut(leaving); err == nil {
		t.Fatal("a sign-out that is on its way succeeded")
	}
	here.signIn(app, u)
	if err := signOut(ctx); err != nil {
		t.Fatal(err)
	}
	last := here.signIn(app, u)
	news := w.client().Subscribe(ctx, w.prefix+":v1:changes")
	defer news.Close()
	if _, err := news.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	close(late.free)
	if _, err := news.ReceiveMessage(ctx); err != nil { // told last
		t.Fatal(err)
	}
	away.on.Store(true)
	if got := must(t)(silent(ctx, app, u.HomeAccountID())); got != last.AccessToken {
		t.Error("here: another token than the last session's")
	}
}

// An instance whose sign-out Redis has not taken does not go back to the session that Redis still has.
func TestPendingSignOutIsNotForgottenByALook(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	here, refuse := w.refusingSignOuts()
	app := here.app()
	here.signIn(app, u)
	refuse.on.Store(true)
	defer refuse.on.Store(false)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
		t.Fatal("a sign-out that Redis refused succeeded")
	}
	for range 3 {
		if _, err := silent(ctx, app, u.HomeAccountID()); err == nil {
			t.Fatal("the instance that signed the user out hands out the user's token")
		}
	}
}

// tokensKey is the one user's record.
func (w *world) tokensKey(t *testing.T) string {
	t.Helper()
	for _, k := range w.keysOf() {
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
			w := newWorld(t)
			w.rotating()
			u := w.addUsers(1)[0]
			ctx := context.Background()
			here := w.instance(func(o *msalredis.Options) { o.LocalTTL = time.Second })
			app := here.app()
			here.signIn(app, u)
			key := w.tokensKey(t)
			before := w.client().HGetAll(ctx, key).Val()
			fresh := must(t)(silent(ctx, app, u.HomeAccountID(), mailScope))

			rdb := w.redis.admin
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
			eventually(t, "here looks at Redis again, and another instance finds the newer token", func() bool {
				if got, err := silent(ctx, app, u.HomeAccountID(), mailScope); err != nil || got.AccessToken != fresh {
					t.Fatalf("here: %v", err)
				}
				return rdb.HLen(ctx, key).Val() == int64(len(after))
			})
			must(t)(silent(ctx, w.instance().app(), u.HomeAccountID(), filesScope))
		})
	}
}

// A failover may lose a sign-out together with the sign-in after it. Redis then has an older tombstone, or none, and the
// instance that signed the user in again knows better.
func TestSignInAfterALostSignOutIsBroughtBack(t *testing.T) {
	for _, earlier := range []bool{true, false} {
		t.Run(fmt.Sprintf("an earlier sign-out: %v", earlier), func(t *testing.T) {
			w := newWorld(t)
			u, ctx := w.addUsers(1)[0], context.Background()
			here := w.instance(func(o *msalredis.Options) { o.LocalTTL = time.Second })
			app := here.app()
			here.signIn(app, u)
			key, rdb := w.tokensKey(t), w.client()
			tombstone := strings.TrimSuffix(key, ":tokens") + ":tombstone"
			again := func() string {
				t.Helper()
				if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
					t.Fatal(err)
				}
				return here.signIn(app, u).AccessToken
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
				eventually(t, "here looks at Redis again, and brings the session back", func() bool {
					if got := must(t)(silent(ctx, app, u.HomeAccountID())); got != last {
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
			if got := must(t)(silent(ctx, w.instance().app(), u.HomeAccountID())); got != last {
				t.Error("elsewhere: another token than the last sign-in's")
			}
		})
	}
}

// A tombstone expires, and nothing is new for that: an instance does not ask Redis at each call from then on.
func TestExpiredTombstoneIsNoNews(t *testing.T) {
	w := newWorld(t)
	u, ctx := w.addUsers(1)[0], context.Background()
	looks := &counting{chosen: func(cmd redis.Cmder) bool { return hasKeys(cmd, ":tokens", ":tombstone") && !isStore(cmd) }}
	watched, o := w.client(), options(w.prefix)
	o.LocalTTL = 2 * time.Second
	here := w.instanceOn(hooked{watched}, w.sealer(w.keys), o)
	app := here.app()
	here.signIn(app, u)
	if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	here.signIn(app, u)
	must(t)(silent(ctx, app, u.HomeAccountID()))
	watched.AddHook(looks)
	w.client().Del(ctx, strings.TrimSuffix(w.tokensKey(t), ":tokens")+":tombstone")
	eventually(t, "here looks at Redis again", func() bool {
		must(t)(silent(ctx, app, u.HomeAccountID()))
		return looks.n.Load() > 0
	})
	before := looks.n.Load()
	for range 50 {
		must(t)(silent(ctx, app, u.HomeAccountID()))
	}
	if n := looks.n.Load() - before; n > 10 {
		t.Errorf("50 calls within LocalTTL asked Redis %d times", n)
	}
}

// A damaged value is a miss for who does not know what it was. Who knows puts it right, and is asked to, because nothing
// else would make it read the record again.
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
			w := newWorld(t)
			u := w.addUsers(1)[0]
			ctx := context.Background()
			here := w.instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
			app := here.app()
			fresh := here.signIn(app, u)
			must(t)(silent(ctx, app, u.HomeAccountID())) // it listens
			rdb, key := w.client(), w.tokensKey(t)
			eventually(t, "the subscription", func() bool {
				n, err := w.redis.subscribers(ctx, w.prefix+":v1:changes")
				return err == nil && n >= 1
			})
			for field, value := range rdb.HGetAll(ctx, key).Val() {
				if field != "v" {
					rdb.HSet(ctx, key, field, damage(value))
				}
			}
			eventually(t, "another instance finds the sign-in", func() bool {
				got, err := silent(ctx, w.instance().app(), u.HomeAccountID())
				return err == nil && got.AccessToken == fresh.AccessToken
			})
			must(t)(silent(ctx, w.instance().app(), u.HomeAccountID(), filesScope))
		})
	}
}

// Who finds a damaged value that it knows nothing of asks the others, once. Who reads the record because it was asked says
// nothing: two who do not know would ask one another for ever.
func TestDamageIsAskedAboutOnce(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	who := w.instance()
	who.signIn(who.app(), u)
	if err := who.tokens.Close(); err != nil {
		t.Fatal(err)
	}
	rdb, key := w.client(), w.tokensKey(t)
	for field, value := range rdb.HGetAll(ctx, key).Val() {
		if field != "v" {
			rdb.HSet(ctx, key, field, value[:len(value)-1])
		}
	}
	channel := w.prefix + ":v1:changes"
	asks := &counting{chosen: func(cmd redis.Cmder) bool { return strings.EqualFold(cmd.Name(), "publish") }}
	looks := &counting{chosen: func(cmd redis.Cmder) bool { return hasKeys(cmd, ":tokens", ":tombstone") && !isStore(cmd) }}
	watched := w.client()
	watched.AddHook(asks)
	watched.AddHook(looks)
	app := w.instanceOn(hooked{watched}, w.sealer(w.keys), options(w.prefix)).app()
	eventually(t, "it asks and listens", func() bool {
		_, err := silent(ctx, app, u.HomeAccountID())
		if err == nil {
			t.Fatal("a token of a record that is damaged")
		}
		n, err := w.redis.subscribers(ctx, channel)
		return err == nil && n >= 1 && asks.n.Load() >= 1
	})
	before := asks.n.Load()
	for range 10 {
		n := looks.n.Load()
		rdb.Publish(ctx, channel, "another "+pidOf(key)+" damaged")
		eventually(t, "it looks, for it is asked", func() bool { return looks.n.Load() > n })
	}
	if n := asks.n.Load(); n != before {
		t.Errorf("it has asked %d times back", n-before)
	}
}

// While a process repairs a record it may read it again: it still knows what it repairs, and Redis may lose that anew.
func TestLookDuringARepairForgetsNothing(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	ctx := context.Background()
	watched, o := w.client(), options(w.prefix)
	o.LocalTTL = time.Hour
	here := w.instanceOn(hooked{watched}, w.sealer(w.keys), o)
	app := here.app()
	here.signIn(app, u)
	must(t)(silent(ctx, app, u.HomeAccountID())) // it listens
	w.listening(t, 1)
	rdb, key := w.client(), w.tokensKey(t)
	for field, value := range rdb.HGetAll(ctx, key).Val() {
		if field != "v" {
			rdb.HSet(ctx, key, field, value[:len(value)-1])
		}
	}
	looks := &counting{chosen: func(cmd redis.Cmder) bool { return hasKeys(cmd, ":tokens", ":tombstone") && !isStore(cmd) }}
	repair := newHeld(isStore)
	watched.AddHook(looks)
	watched.AddHook(repair)
	ask := func() { rdb.Publish(ctx, w.prefix+":v1:changes", "another "+pidOf(key)+" damaged") }
	ask()
	<-repair.here
	before := looks.n.Load()
	ask()
	eventually(t, "it looks again", func() bool { return looks.n.Load() > before })
	close(repair.free)
	<-repair.done
	rdb.Del(ctx, key)
	must(t)(silent(ctx, app, u.HomeAccountID(), filesScope))
}

// pidOf is the partition in the name of a key.
func pidOf(key string) string {
	_, pid, _ := strings.Cut(key, "{")
	pid, _, _ = strings.Cut(pid, "}")
	return pid
}

// News of a sign-out that an instance knows of, as they come late over a slow connection, and of one that nobody can have
// made, take nothing from it: what Redis loses then it still brings back.
func TestNewsOfNoNewSignOutForgetNothing(t *testing.T) {
	for what, generation := range map[string]func(known int64) int64{
		"a known one":           func(known int64) int64 { return known },
		"one of a time to come": func(int64) int64 { return 9e15 },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			u, ctx := w.addUsers(1)[0], context.Background()
			here := w.instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
			app := here.app()
			here.signIn(app, u)
			if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Fatal(err)
			}
			last := here.signIn(app, u)
			must(t)(silent(ctx, app, u.HomeAccountID())) // it listens
			w.listening(t, 1)
			rdb, key := w.client(), w.tokensKey(t)
			tombstone := strings.TrimSuffix(key, ":tokens") + ":tombstone"
			text, _, _ := strings.Cut(rdb.Get(ctx, tombstone).Val(), " ")
			known, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			rdb.Del(ctx, key, tombstone)
			for _, g := range []int64{generation(known), 0} { // the latter makes it look
				rdb.Publish(ctx, w.prefix+":v1:changes", layout.Change{From: "another", ID: layout.ID(pidOf(key)), Generation: g}.String())
			}
			eventually(t, "another instance finds the sign-in", func() bool {
				got, err := silent(ctx, w.instance().app(), u.HomeAccountID())
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
	w := newWorld(t)
	users := w.addUsers(2)
	u, ctx := users[0], context.Background()
	here := w.instance()
	looks := &counting{chosen: func(cmd redis.Cmder) bool { return hasKeys(cmd, ":tokens", ":tombstone") && !isStore(cmd) }}
	away, watched, o := &gone{}, w.client(), options(w.prefix)
	watched.AddHook(looks)
	watched.AddHook(away)
	o.LocalTTL = time.Hour
	there := w.instanceOn(hooked{watched}, w.sealer(w.keys), o).app()
	for _, u := range users {
		here.signIn(here.app(), u)
		must(t)(silent(ctx, there, u.HomeAccountID()))
	}
	w.listening(t, 2)

	// A refresh is on its way to Entra ID while the user signs out here.
	asked, free := make(chan struct{}), make(chan struct{})
	remove := w.entra.OnTokenRequest(func(r entratest.Request) {
		if r.Grant == "refresh_token" {
			close(asked)
			<-free
		}
	})
	refresh := make(chan error, 1)
	go func() { _, err := silent(ctx, there, u.HomeAccountID(), mailScope); refresh <- err }()
	<-asked
	remove()
	for _, u := range users {
		if err := here.tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
			t.Fatal(err)
		}
	}
	before := looks.n.Load()
	eventually(t, "the second sign-out, and so the first, is heard there", func() bool {
		_, _ = silent(ctx, there, users[1].HomeAccountID())
		return looks.n.Load() > before
	})
	away.on.Store(true)
	if _, err := silent(ctx, there, u.HomeAccountID()); err == nil {
		t.Error("there: a token of before the sign-out while Redis is away")
	}
	for _, key := range w.keysOf() {
		if strings.Contains(key, "{") {
			w.client().Del(ctx, key)
		}
	}
	close(free)
	<-refresh // its caller may have a token: the call began before the sign-out
	away.on.Store(false)
	eventually(t, "there asks Redis again", func() bool {
		before := looks.n.Load()
		if _, err := silent(ctx, there, u.HomeAccountID(), mailScope); err == nil {
			t.Fatal("there: the session is back")
		}
		return looks.n.Load() > before
	})
	if _, err := silent(ctx, w.instance().app(), u.HomeAccountID(), mailScope); err == nil {
		t.Error("elsewhere: the session is back")
	}
}

// An on-behalf-of answer that was asked for before the user signed out is kept nowhere, and serves nobody while Redis is
// away; whether the sign-out comes before the answer is listed or before it is kept, and also where its message is lost.
func TestAnswerOfBeforeASignOutIsNotKept(t *testing.T) {
	for _, at := range []string{"list answer", "keep answer"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			u, ctx := w.addUsers(1)[0], context.Background()
			away, watched := &gone{}, w.client()
			stop := newHeld(func(cmd redis.Cmder) bool { return step(cmd) == at })
			watched.AddHook(away)
			watched.AddHook(stop)
			here := w.instanceOn(hooked{watched}, w.sealer(w.keys), options(w.prefix))
			assertion := w.assertion(t, u)
			early := make(chan string, 1)
			go func() {
				got, _ := here.app().AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope})
				early <- got.AccessToken
			}()
			<-stop.here
			silenced := &refusing{chosen: func(cmd redis.Cmder) bool { return strings.EqualFold(cmd.Name(), "publish") }}
			silenced.on.Store(true)
			rdb := w.client()
			rdb.AddHook(silenced)
			if err := w.instanceOn(hooked{rdb}, w.sealer(w.keys), options(w.prefix)).tokens.RemoveAccount(ctx, u.HomeAccountID()); err != nil {
				t.Fatal(err)
			}
			close(stop.free)
			before := <-early
			away.on.Store(true)
			if after := must(t)(here.app().AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope})); after == before {
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
	w := newWorld(t)
	w.rotating()
	u := w.addUsers(1)[0]
	ctx := context.Background()
	o := options(w.prefix)
	o.LocalTTL = time.Second
	looks, watched := &counting{chosen: func(cmd redis.Cmder) bool { return hasKeys(cmd, ":tokens", ":tombstone") && !isStore(cmd) }}, w.client()
	watched.AddHook(looks)
	old := w.instanceOn(hooked{watched}, w.sealer(w.keys), o)
	app := old.app()
	known := old.signIn(app, u)
	next, err := serializer.GenerateKey("k2")
	if err != nil {
		t.Fatal(err)
	}
	i := w.instanceOn(w.client(), w.sealer(next.Export()+","+w.keys), options(w.prefix))
	fresh := must(t)(silent(ctx, i.app(), u.HomeAccountID(), mailScope))
	rdb, key := w.client(), w.tokensKey(t)
	want := rdb.HGetAll(ctx, key).Val()
	before := looks.n.Load()
	eventually(t, "the old instance looks again", func() bool {
		if got := must(t)(silent(ctx, app, u.HomeAccountID())); got != known.AccessToken {
			t.Fatal("the old instance has another token than before")
		}
		return looks.n.Load() > before+1
	})
	if got := rdb.HGetAll(ctx, key).Val(); !maps.Equal(got, want) {
		t.Error("the old instance changed the record")
	}
	if got := must(t)(silent(ctx, w.instanceOn(w.client(), w.sealer(next.Export()+","+w.keys), options(w.prefix)).app(), u.HomeAccountID(), mailScope)); got != fresh {
		t.Error("the new token is gone")
	}
}
