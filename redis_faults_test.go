package msalredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/msalredis"
)

// quick is the OpTimeout that users have: these tests are about a Redis that does not answer.
func quick(o *msalredis.Options) { o.OpTimeout = 250 * time.Millisecond }

// Redis goes away and comes back empty. Meanwhile tokens come from memory, a new one costs one request for the whole
// process, and when Redis is back they are there for others without another request: users' too, who stay signed in.
func TestRedisGoesAwayAndComesBackEmpty(t *testing.T) {
	w := newWorld(t)
	u := w.addUsers(1)[0]
	i := w.instance(quick)
	ctx := context.Background()
	app, second := i.app(), i.app()
	i.signIn(app, u)
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Fatal(err)
	}
	w.redis.Kill()
	sent := w.entra.Count()
	if _, err := silent(ctx, app, u.HomeAccountID()); err != nil {
		t.Errorf("a user's token from memory: %v", err)
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Errorf("an app's token from memory: %v", err)
	}
	w.count(t, sent, "tokens from memory")
	const other = "https://org.crm4.dynamics.com/.default"
	errs := parallel(32, func(g int) error {
		client := app
		if g%2 == 1 {
			client = second
		}
		_, err := client.AcquireTokenByCredential(ctx, []string{other})
		return err
	})
	if len(errs) > 0 {
		t.Errorf("%d of 32 failed while Redis was away: %v", len(errs), errs[0])
	}
	w.count(t, sent+1, "a new token while Redis is away")

	w.redis.Restart()
	eventually(t, "the tokens get there", func() bool {
		// Using a token is what makes the instance look, and write a lost user's record back.
		_, _ = silent(ctx, app, u.HomeAccountID())
		records := 0
		for _, k := range w.keysOf() {
			if len(k) > 7 && k[len(k)-7:] == ":tokens" {
				records++
			}
		}
		return records == 2
	})
	fresh := w.instance().app()
	if _, err := silent(ctx, fresh, u.HomeAccountID()); err != nil {
		t.Errorf("the user is signed out by a restart of Redis: %v", err)
	}
	if _, err := fresh.AcquireTokenByCredential(ctx, []string{other}); err != nil {
		t.Error(err)
	}
	w.count(t, sent+1, "after Redis came back")
}

// A Redis that hangs costs OpTimeout once, and nothing once the breaker is open.
func TestRedisHangsNobodyWaitsOnceTheBreakerIsOpen(t *testing.T) {
	w := newWorld(t)
	i := w.instance(quick)
	app := i.app()
	ctx := context.Background()
	w.redis.Freeze()
	defer w.redis.Thaw()
	begun := time.Now()
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Fatal(err)
	}
	// Bounds that tell working from stuck: go-redis alone would wait for 5 s, three times over.
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the first call took %v", took)
	}
	begun = time.Now()
	for n := range 20 {
		if _, err := app.AcquireTokenByCredential(ctx, []string{"https://api" + string(rune('a'+n)) + ".example.com/.default"}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("20 calls with the breaker open took %v", took)
	}
	w.count(t, 21, "one request per token")
}
