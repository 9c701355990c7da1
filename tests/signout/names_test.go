package signout_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// watched calls functions before and after each command.
type watched struct{ before, after func(redis.Cmder) }

func (b watched) DialHook(next redis.DialHook) redis.DialHook { return next }
func (b watched) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (b watched) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		b.before(cmd)
		err := next(ctx, cmd)
		b.after(cmd)
		return err
	}
}

// A token that is asked for while its app's tokens are being forgotten, after the time of that removal and before its
// end, is found by the next one by another name of the tenant.
func TestNamesListedDuringARemoval(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := harness.NewWorld(t)
	w.Entra.AddDomain("contoso.example", harness.Tenant)
	on := func(hook watched) *harness.Instance {
		rdb := w.Client()
		rdb.AddHook(hook)
		return w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	}
	nothing := func(redis.Cmder) {}
	client := func(i *harness.Instance) confidential.Client {
		return harness.NewApp(t, w.Entra.Authority("contoso.example"), i.Tokens, i.HTTP)
	}
	first := harness.Must(t)(client(w.Instance()).AcquireTokenByCredential(ctx, []string{harness.GraphScope}))

	// The removal is held where it has been carried out under both names, and takes what it has seen to off the lists.
	var unlisted, listed atomic.Int64
	there, let := make(chan struct{}), make(chan struct{})
	remover := on(watched{func(cmd redis.Cmder) {
		if cmd.Name() == "zrem" && unlisted.Add(1) == 2 {
			close(there)
			<-let
		}
	}, nothing})
	asker := on(watched{nothing, func(cmd redis.Cmder) {
		if harness.HasKeys(cmd, ":rids", ":tombstone") && cmd.Err() == nil {
			listed.Add(1)
		}
	}})
	removed := make(chan error, 1)
	go func() { removed <- remover.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant) }()
	harness.Within(t, "the removal takes members off the second list", there)

	door := w.Door()
	app := client(asker)
	calls := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
		return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	})
	door.Wait(t)
	harness.Eventually(t, "the names listed beside the request", func() bool { return listed.Load() >= 2 })
	close(let)
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	door.Open()
	second := harness.OneToken(t, harness.CollectCalls(t, 1, calls))
	if second == first {
		t.Fatal("the forgotten token serves")
	}
	harness.Eventually(t, "the answer kept", func() bool { return len(w.KeysLike(":response")) > 0 })
	harness.Succeeds(t, remover.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant))
	harness.Eventually(t, "a new token", func() bool {
		return harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})) != second
	})
}
