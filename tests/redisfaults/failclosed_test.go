package redisfaults_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// With FailClosed an acquisition fails with Redis's error, whichever operation met it: reading, looking for another's
// answer, the lease, storing. Without it none does. The errors say what is wrong and which option makes it theirs, and
// no secret; the Azure SDK does not retry them.
func TestFailClosedReturnsRedisErrors(t *testing.T) {
	appToken := func(app confidential.Client, _ entratest.User) error {
		_, err := app.AcquireTokenByCredential(context.Background(), []string{harness.GraphScope})
		return err
	}
	userToken := func(app confidential.Client, u entratest.User) error {
		_, err := harness.Silent(context.Background(), app, u.HomeAccountID())
		return err
	}
	kill := func(w *harness.World) { w.Redis.Kill() }
	for name, test := range map[string]struct {
		begin    func(*harness.World)
		use      func(confidential.Client, entratest.User) error
		want     string // in the error
		requests int    // that are made all the same
	}{
		"a user's token, Redis away": {kill, userToken, "reading tokens", 0},
		"an app's token, Redis away": {kill, appToken, "looking for a shared answer", 0},
		"an app's token, Redis hung": {func(w *harness.World) {
			w.Redis.Freeze()
			w.T.Cleanup(w.Redis.Thaw)
		}, appToken, "looking for a shared answer", 0},
		"the lease, Redis read-only": {func(w *harness.World) { w.Redis.ReadOnly(w.T) }, appToken, "taking the lease", 0},
		// Full once the request is under way: before that the lease would be what fails.
		"storing, Redis full": {func(w *harness.World) {
			w.Entra.OnTokenRequest(func(entratest.Request) { w.Redis.FillMemory() })
		}, appToken, "storing tokens", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.Breakable(t)
			u := w.AddUsers(1)[0]
			fails := w.Instance(harness.ShortOpTimeout, func(o *msalredis.Options) { o.FailClosed = true })
			goesOn := w.Instance(harness.ShortOpTimeout)
			failing, going := fails.App(), goesOn.App()
			goesOn.SignIn(going, u) // what this instance has in memory is all that it can go on with
			sent := w.Entra.Count()
			test.begin(w)
			err := test.use(failing, u)
			if err == nil {
				t.Fatal("FailClosed: no error")
			}
			harness.Canary.SawError(err)
			for _, want := range []string{"Redis", "FailClosed", test.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("FailClosed: the error does not say %q: %v", want, err)
				}
			}
			var final interface{ NonRetriable() }
			if !errors.As(err, &final) {
				t.Errorf("FailClosed: the Azure SDK would try for ten seconds more after: %v", err)
			}
			w.Count(t, sent+test.requests, "FailClosed")
			if err := test.use(going, u); err != nil {
				t.Errorf("not FailClosed: %v", err)
			}
		})
	}
}

// With FailClosed nobody asks Entra ID who could not look once more under the lease: another instance may have the
// answer.
func TestFailClosedSecondLook(t *testing.T) {
	w := harness.NewWorld(t)
	var looks atomic.Int64
	second := &harness.Refusing{Chosen: func(cmd redis.Cmder) bool {
		return harness.HasKeys(cmd, ":response", ":pause") && looks.Add(1) == 2
	}}
	rdb := w.Client()
	rdb.AddHook(second)
	o := harness.Options(w.Prefix)
	o.FailClosed = true
	app := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), o).App()
	// Redis knows the scripts: a look is one command
	harness.Must(t)(app.AcquireTokenByCredential(context.Background(), []string{harness.DynamicsScope}))
	second.On.Store(true)
	_, err := app.AcquireTokenByCredential(context.Background(), []string{harness.GraphScope})
	if err == nil || !strings.Contains(err.Error(), "looking for a shared answer") {
		t.Errorf("the error is %v", err)
	}
	harness.Canary.SawError(err)
	w.Count(t, 1, "a look that failed")
	harness.Must(t)(app.AcquireTokenByCredential(context.Background(), []string{harness.GraphScope}))
	w.Count(t, 2, "the next call")
}
