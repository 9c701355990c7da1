package gate_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A caller whose context ends while the request is under way returns at once, be it the one that began it or one that
// joined, and harms no other: those who stay get the token of the one request.
func TestCallerThatLeavesHarmsNoOther(t *testing.T) {
	w := harness.NewWorld(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	remove := w.Entra.OnTokenRequest(func(entratest.Request) {
		close(arrived)
		<-release
	})
	defer remove()
	app := w.Instance().App()
	elsewhere := w.Instance().App()
	first, leaveFirst := context.WithCancel(context.Background())
	defer leaveFirst()
	call := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			done <- err
		}()
		return done
	}
	began := call(first)
	<-arrived
	joiner, leaveJoiner := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer leaveJoiner()
	joined := call(joiner)
	waiting, leaveWaiting := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer leaveWaiting()
	other := make(chan error, 1)
	go func() {
		_, err := elsewhere.AcquireTokenByCredential(waiting, []string{harness.GraphScope})
		other <- err
	}()
	stays := call(context.Background())
	leaveFirst()
	for name, test := range map[string]struct {
		done chan error
		want error
	}{
		"the first":               {began, context.Canceled},
		"one that joined":         {joined, context.DeadlineExceeded},
		"one on another instance": {other, context.DeadlineExceeded},
	} {
		select {
		case err := <-test.done:
			if !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not return while the request is under way", name)
		}
	}
	close(release)
	if err := <-stays; err != nil {
		t.Errorf("one that stayed: %v", err)
	}
	if _, err := elsewhere.AcquireTokenByCredential(context.Background(), []string{harness.GraphScope}); err != nil {
		t.Error(err)
	}
	w.Count(t, 1, "all callers")
}

// A caller whose context ends while it waits for Redis returns then, and not when Redis's time is over: at reading, at
// looking for another's answer, at storing, in the gate and in the accessor. One that waits beside it gets its token.
func TestCallerLeavesWhileRedisHangs(t *testing.T) {
	full := func(i *harness.Instance) confidential.Client { return i.App() }
	gateOnly := func(i *harness.Instance) confidential.Client { return i.GateApp() }
	for name, stage := range map[string]struct {
		client  func(*harness.Instance) confidential.Client
		waitsIn string
		asked   bool // Redis hangs from when Entra ID has been asked
		options []confidential.AcquireByCredentialOption
	}{
		"reading": {full, "tokenstore.(*Store).Load(", false, nil},
		"looking": {gateOnly, "gate.(*flight).wait(", false, nil},
		// Of a challenge: an app's callers do not wait for that else.
		"keeping the answer": {full, "gate.(*flight).wait(", true,
			[]confidential.AcquireByCredentialOption{confidential.WithClaims(challenge)}},
		"storing the entries": {accessorApp, "accessor.(*Accessor).Export(", true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.Breakable(t)
			i := w.Instance(func(o *msalredis.Options) {
				o.OpTimeout, o.LockTTL, o.LocalTTL = time.Minute, 4*time.Minute, 4*time.Minute
			})
			// Clients of their own: MSAL keeps a second caller of one waiting at a mutex, whatever its context.
			leaves, stays := stage.client(i), stage.client(i)
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			if stage.asked {
				// So that MSAL has the partition, and does not wait for it before it stores.
				for _, app := range []confidential.Client{leaves, stays} {
					harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}))
				}
			}
			door := w.Door()
			defer w.Redis.Thaw()
			if !stage.asked {
				w.Redis.Freeze()
				door.Open()
			}
			left := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
				return leaves.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, stage.options...)
			})
			stayed := harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
				return stays.AcquireTokenByCredential(context.Background(), []string{harness.GraphScope}, stage.options...)
			})
			if stage.asked {
				door.Wait(t)
				if stage.waitsIn == "accessor.(*Accessor).Export(" {
					door.Wait(t) // nothing joins these two
				} else {
					harness.InGate(t, 2)
				}
				w.Redis.Freeze()
				door.Open()
			}
			harness.InStack(t, stage.waitsIn, 2)
			leave()
			harness.Returns(t, "the caller that leaves", left, context.Canceled)
			w.Redis.Thaw()
			harness.OneToken(t, harness.CollectCalls(t, 1, stayed))
		})
	}
}

// accessorApp is a client with the accessor alone.
func accessorApp(i *harness.Instance) confidential.Client {
	i.World.T.Helper()
	return harness.NewApp(i.World.T, i.World.Entra.Authority(harness.Tenant), i.Tokens, i.World.Entra.HTTPClient())
}

// impatient is an application's transport that ends what hangs, as one with a ResponseHeaderTimeout does.
type impatient struct {
	base http.RoundTripper
	over <-chan struct{}
}

func (i impatient) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, end := context.WithCancelCause(r.Context())
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-i.over:
			end(os.ErrDeadlineExceeded)
		case <-stop:
		}
	}()
	resp, err := i.base.RoundTrip(r.WithContext(ctx))
	if err != nil && context.Cause(ctx) == os.ErrDeadlineExceeded {
		err = os.ErrDeadlineExceeded
	}
	return resp, err
}

// So does one that waits for an Entra ID that never answers. Who stays gets the token of the next try, and who wants
// another token does not wait at all.
func TestCallerLeavesWhileEntraHangs(t *testing.T) {
	w := harness.NewWorld(t)
	i, elsewhere := w.Instance(), w.Instance()
	base := w.Entra.Transport()
	defer base.CloseIdleConnections()
	patience := make(chan struct{})
	i.HTTP = &http.Client{Transport: i.Tokens.Transport(impatient{base, patience})}
	app := i.App()
	w.Entra.AddFault(entratest.Fault{Match: entratest.ByScope(harness.GraphScope), Hang: true, Times: 1})
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	acquire := func(app confidential.Client, ctx context.Context, scope string) <-chan harness.CallResult {
		return harness.StartCalls(1, func(int) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{scope})
		})
	}
	left, stayed := acquire(app, ctx, harness.GraphScope), acquire(app, context.Background(), harness.GraphScope)
	harness.InGate(t, 2)
	leftThere := acquire(elsewhere.App(), ctx, harness.GraphScope)
	stayedThere := acquire(elsewhere.App(), context.Background(), harness.GraphScope)
	harness.InGate(t, 4)
	harness.Eventually(t, "the request arrives", func() bool { return w.Entra.Count() == 1 })
	harness.OneToken(t, harness.CollectCalls(t, 1, acquire(app, context.Background(), harness.DynamicsScope)))
	leave()
	harness.Returns(t, "the caller that leaves", left, context.Canceled)
	harness.Returns(t, "the caller that leaves on another instance", leftThere, context.Canceled)
	if w.Entra.Count(entratest.ByScope(harness.GraphScope)) != 1 || len(stayed) > 0 {
		t.Error("they returned when the request that hung was over, or never had to wait for it")
	}
	patience <- struct{}{}
	harness.OneToken(t, append(harness.CollectCalls(t, 1, stayed), harness.CollectCalls(t, 1, stayedThere)...))
	w.Count(t, 2, "the one that hung, and the next try", entratest.ByScope(harness.GraphScope))
}
