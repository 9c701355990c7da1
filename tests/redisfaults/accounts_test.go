package redisfaults_test

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// failing is a Redis that times out from a moment on: after so many looks at the list of accounts and at records.
type failing struct{ left atomic.Int64 }

func (f *failing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (f *failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f *failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		looks := int64(0)
		if cmd.Name() == "zrange" || harness.HasKeys(cmd, ":tokens", ":tombstone") {
			looks = 1
		}
		if f.left.Add(-looks) < 0 {
			cmd.SetErr(os.ErrDeadlineExceeded)
			return os.ErrDeadlineExceeded
		}
		return next(ctx, cmd)
	}
}

// Accounts lists all accounts or is an error, wherever Redis stops to answer: what it left out would look signed out. A
// sign-in, for which MSAL asks in the same way, is stored all the same, and listed once Redis is back.
func TestAccountsAreAllOrAnError(t *testing.T) {
	const accounts = 40
	ctx := context.Background()
	for name, test := range map[string]struct {
		before int64 // looks before the first list
		whole  bool  // it is listed once, and so known, before Redis fails
	}{
		"nothing is known":   {before: 0},
		"the list is known":  {before: 1},
		"one record":         {before: 2},
		"half of them":       {before: 1 + accounts/2},
		"all but one record": {before: accounts},
		"all are known":      {before: 1 << 40, whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			w.Fill(t, harness.PublicID, w.Entra.Host(), accounts)
			f := &failing{}
			f.left.Store(test.before)
			rdb := w.Client()
			rdb.AddHook(f)
			o := harness.Options(w.Prefix)
			o.LocalTTL = time.Millisecond
			i := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), o)
			client := i.Public()
			list := func(want int) {
				t.Helper()
				if got, err := client.Accounts(ctx); err != nil || len(got) != want {
					t.Errorf("%d accounts, want %d: %v", len(got), want, err)
				}
			}
			if test.whole {
				list(accounts)
				f.left.Store(0)
				list(accounts)
			} else if got, err := client.Accounts(ctx); err == nil {
				t.Errorf("%d accounts of %d without an error", len(got), accounts)
			}
			signedIn := harness.PublicSignIn(t, w, client, w.AddUsers(1)[0])
			harness.Must(t)(client.AcquireTokenSilent(ctx, []string{harness.UserScope},
				public.WithSilentAccount(signedIn.Account)))
			if !test.whole {
				if got, err := client.Accounts(ctx); err == nil {
					t.Errorf("%d accounts of %d without an error, after a sign-in", len(got), accounts+1)
				}
			}
			f.left.Store(1 << 40)
			other := w.Instance().Public()
			harness.Eventually(t, "another instance lists the sign-in too", func() bool {
				got, err := other.Accounts(ctx)
				return err == nil && len(got) == accounts+1
			})
			harness.Eventually(t, "all are listed again", func() bool {
				got, err := client.Accounts(ctx)
				return err == nil && len(got) == accounts+1
			})
		})
	}
}

// Redis is 5 ms away: all of 300 accounts are listed, while a sign-in and a sign-out of one that is in use go on beside
// them.
func TestManyAccountsFarFromRedis(t *testing.T) {
	const accounts = 300
	ctx := context.Background()
	w := harness.NewWorld(t)
	w.Fill(t, harness.PublicID, w.Entra.Host(), accounts)
	far, _ := over(w, t, 2500*time.Microsecond)
	i := w.InstanceOn(w.Client(far), w.Sealer(w.Keys), harness.Options(w.Prefix))
	client := i.Public()
	u := w.AddUsers(1)[0]
	listed := make(chan error, 1)
	go func() {
		got, err := client.Accounts(ctx)
		if err == nil && len(got) < accounts {
			t.Errorf("%d accounts, want %d", len(got), accounts)
		}
		listed <- err
	}()
	signedIn := harness.PublicSignIn(t, w, client, u)
	if err := <-listed; err != nil {
		t.Fatal(err)
	}
	got, err := client.Accounts(ctx)
	if err != nil || len(got) != accounts+1 {
		t.Fatalf("%d accounts, want %d: %v", len(got), accounts+1, err)
	}
	for _, a := range []public.Account{signedIn.Account, got[0]} {
		_, _ = client.AcquireTokenSilent(ctx, []string{"s"}, public.WithSilentAccount(a)) // in use
		if err := client.RemoveAccount(ctx, a); err != nil {
			t.Errorf("RemoveAccount: %v", err)
		}
	}
	other := w.Instance(func(o *msalredis.Options) { o.OpTimeout = time.Minute }).Public()
	if got, err := other.Accounts(ctx); err != nil || len(got) != accounts-1 {
		t.Errorf("%d accounts, want %d: %v", len(got), accounts-1, err)
	}
}
