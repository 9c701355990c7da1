package cost_test

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// One client serves hundreds of users on one processor that the garbage collector wants too, with a short OpTimeout: a
// goroutine waits long for its turn, which is neither Redis being away nor a token that is gone.
func TestManyUsersOnAProcessorUnderPressure(t *testing.T) { manyUsersUnderPressure(t, 150, 5) }

func TestLongManyUsersOnAProcessorUnderPressure(t *testing.T) {
	long.Test(t)
	manyUsersUnderPressure(t, 600, 25)
}

func manyUsersUnderPressure(t *testing.T, users, calls int) {
	const goroutines = 32
	w := harness.NewWorld(t)
	w.Fill(t, harness.ClientID, "login.microsoftonline.com", users)
	cfg := harness.WorkerConfig{
		Redis: w.Redis.Address, Prefix: w.Prefix, Keys: w.Keys, Entra: w.Entra.Host(), CA: string(w.Entra.CAPEM()),
		OpTimeout: 250 * time.Millisecond, Pressed: 1,
	}
	p := harness.StartProcess(t, os.Args[0], cfg, "GOMAXPROCS=1")
	p.Hello()
	o := p.Do(harness.Order{Op: "silent", Scopes: []string{"s"}, Accounts: users, N: goroutines, Calls: calls})
	if len(o.Errors) > 0 {
		t.Errorf("%d of %d silent calls failed: %s", len(o.Errors), len(o.Errors)+len(o.Tokens), o.Errors[0])
	}
	w.Count(t, 0, "token requests")
}

// reading is an accessor whose first Replace for an account, once it has been chosen, comes to its end late: MSAL
// releases its lock before it reads, and a goroutine may wait for a processor there.
type reading struct {
	cache.ExportReplace
	chosen     string
	on         *atomic.Bool
	here, free chan struct{}
}

func (r reading) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	err := r.ExportReplace.Replace(ctx, u, hints)
	if hints.PartitionKey == r.chosen && r.on.CompareAndSwap(true, false) {
		close(r.here)
		<-r.free
	}
	return err
}

// What a caller was handed is there when it comes to read, however many others have been served meanwhile and however
// long that took.
func TestTokenStaysUntilItsCallerHasRead(t *testing.T) { tokenStays(t, 60) }

// With each user the document of the one client grows, and so does what handing it over costs.
func TestLongTokenStaysUntilItsCallerHasRead(t *testing.T) {
	long.Test(t)
	tokenStays(t, 600)
}

func tokenStays(t *testing.T, users int) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	w.Fill(t, harness.ClientID, "login.microsoftonline.com", users)
	i := w.Instance()
	r := reading{i.Tokens, harness.ManyAccount(0), new(atomic.Bool), make(chan struct{}), make(chan struct{})}
	app := harness.NewApp(t, w.Entra.Authority(harness.Tenant), r, i.HTTP)
	account, err := app.Account(ctx, harness.ManyAccount(0))
	harness.Succeeds(t, err)
	begun := time.Now()
	r.on.Store(true)
	late := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
		return app.AcquireTokenSilent(ctx, []string{"s"}, confidential.WithSilentAccount(account))
	})
	harness.Within(t, "a caller between Replace and its read", r.here)
	harness.WaitUntil(begun.Add(1500 * time.Millisecond)) // longer than a use was once taken to be in flight
	for n := 1; n < users; n++ {
		harness.Must(t)(harness.Silent(ctx, app, harness.ManyAccount(n), "s"))
	}
	close(r.free)
	harness.OneToken(t, harness.CollectCalls(t, 1, late))
	w.Count(t, 0, "token requests")
}
