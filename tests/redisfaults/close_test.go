package redisfaults_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// Close does not wait for a Redis that hangs, whatever is under way: calls, leases, subscriptions, writes that wait.
func TestCloseReturnsWhileRedisHangs(t *testing.T) {
	w := harness.Breakable(t)
	i, other := w.Instance(harness.ShortOpTimeout), w.Instance(harness.ShortOpTimeout)
	app, gate := i.App(), other.GateApp()
	ctx := context.Background()
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	door := w.Door()
	held := harness.StartCalls(1, func(int) (confidential.AuthResult, error) { // a lease
		return i.GateApp().AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})
	})
	door.Wait(t)
	waits := harness.StartCalls(1, func(int) (confidential.AuthResult, error) { // and one that waits for its answer
		return gate.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope})
	})
	w.LeaseWaiters(t, 1)
	w.Redis.Freeze()
	defer w.Redis.Thaw()
	if err := i.Tokens.RemoveAccount(ctx, "somebody."+harness.Tenant); err == nil { // and a write that waits
		t.Error("a sign-out that Redis did not answer: no error")
	} else {
		harness.Canary.SawError(err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		i.Close()
		other.Close()
	}()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("Close has not returned within 20 s")
	}
	// While Redis hangs: what waits for it ends when it is back, and would not be seen any more.
	left := ""
	defer func() {
		if left != "" {
			t.Logf("left running:\n%s", left)
		}
	}()
	harness.Eventually(t, "the library's goroutines have ended", func() bool { left = ofLibrary(); return left == "" })
	door.Open()
	for _, calls := range []<-chan harness.CallResult{held, waits} {
		for _, g := range harness.CollectCalls(t, 1, calls) {
			if g.Err == nil {
				t.Error("a call under way when the Cache was closed brought a token") // there was no answer to bring
			} else if !errors.Is(g.Err, msalredis.ErrClosed) {
				t.Errorf("a call under way when the Cache was closed: %v", g.Err)
			}
		}
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.MailScope}); !errors.Is(err, msalredis.ErrClosed) {
		t.Errorf("a call after Close: %v", err)
	}
}

// ofLibrary are the stacks of the goroutines that run the library's code or were started by it.
func ofLibrary() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var ours []string
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		for _, pkg := range []string{ // those that start goroutines
			"msalredis", "lock", "internal/answers", "internal/gate", "internal/redisop", "internal/removal",
			"internal/workers",
		} {
			if strings.Contains(stack, "msal-redis-go/"+pkg+".") {
				ours = append(ours, stack)
				break
			}
		}
	}
	return strings.Join(ours, "\n\n")
}

// Close writes what waits if Redis is there, also when nobody has noticed yet that it is back.
func TestCloseFlushesWhatWaits(t *testing.T) {
	w := harness.NewWorld(t)
	i, link := linked(w)
	link.set(true)
	useWithoutRedis(i, t)
	if got := w.Fields()(); got != 0 {
		t.Fatalf("Redis has %d entries: this test shows nothing", got)
	}
	link.set(false)
	i.Close()
	sharedWithoutRequest(w, t)
}

// keeping holds answers back that are being kept, and refuses sign-outs while it is on.
type keeping struct {
	harness.Refusing
	there   chan struct{}
	once    sync.Once
	refused atomic.Int64
}

func (k *keeping) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	refusing := k.Refusing.ProcessHook(next)
	return func(ctx context.Context, cmd redis.Cmder) error {
		if harness.StepOf(cmd) == "keep answer" {
			k.once.Do(func() { close(k.there) })
			<-ctx.Done() // a connection that is dead without a word
			return ctx.Err()
		}
		err := refusing(ctx, cmd)
		if err != nil && harness.IsSignOut(cmd) {
			k.refused.Add(1)
		}
		return err
	}
}

// Close makes what waits also while an answer that its caller has is being kept on a connection that is dead.
func TestCloseMakesWhatWaitsBesideWhatIsBeingKept(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	rdb := w.Client()
	hook := &keeping{Refusing: harness.Refusing{Chosen: harness.IsSignOut}, there: make(chan struct{})}
	rdb.AddHook(hook)
	o := harness.Options(w.Prefix)
	o.OpTimeout = 500 * time.Millisecond
	i := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), o)
	hook.On.Store(true)
	const users = 5
	for n := range users {
		if err := i.Tokens.RemoveAccount(ctx, fmt.Sprintf("user%d.%s", n, harness.Tenant)); err == nil {
			t.Fatal("not refused")
		}
	}
	// By then what waits is tried again after OpTimeout only.
	harness.Eventually(t, "six tries of each", func() bool { return hook.refused.Load() >= 6*users })
	harness.Must(t)(i.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	harness.Within(t, "the answer is being kept", hook.there)
	hook.On.Store(false)
	i.Close()
	if got := len(w.KeysLike(":tombstone")); got != users {
		t.Errorf("%d of %d sign-outs were made", got, users)
	}
}
