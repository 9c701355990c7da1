package msalredis_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// A caller whose context ends while the request is under way returns at once, be it the one that began it or one that
// joined, and harms no other: those who stay get the token of the one request.
func TestCallerThatLeavesHarmsNoOther(t *testing.T) {
	w := newWorld(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	remove := w.entra.OnTokenRequest(func(entratest.Request) {
		close(arrived)
		<-release
	})
	defer remove()
	app := w.instance().app()
	elsewhere := w.instance().app()
	first, leaveFirst := context.WithCancel(context.Background())
	defer leaveFirst()
	call := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := app.AcquireTokenByCredential(ctx, []string{graph})
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
		_, err := elsewhere.AcquireTokenByCredential(waiting, []string{graph})
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
	if _, err := elsewhere.AcquireTokenByCredential(context.Background(), []string{graph}); err != nil {
		t.Error(err)
	}
	w.count(t, 1, "all callers")
}

// returns checks that a call comes back with want, soon after its context ended.
func returns(t *testing.T, what string, call <-chan got, want error) {
	t.Helper()
	select {
	case g := <-call:
		if !errors.Is(g.err, want) {
			t.Errorf("%s: %v, want %v", what, g.err, want)
		}
	case <-time.After(20 * time.Second): // a third of the OpTimeout that these tests have
		t.Errorf("%s has not returned 20 s after its context ended", what)
	}
}

// A caller whose context ends while it waits for Redis returns then, and not when Redis's time is over: at reading, at
// looking for another's answer, at storing, in the gate and in the accessor. One that waits beside it gets its token.
func TestCallerLeavesWhileRedisHangs(t *testing.T) {
	full := func(i *instance) confidential.Client { return i.app() }
	gateOnly := func(i *instance) confidential.Client { return i.gateApp() }
	for name, stage := range map[string]struct {
		client  func(*instance) confidential.Client
		waitsIn string
		asked   bool // Redis hangs from when Entra ID has been asked
	}{
		"reading":             {full, "msalredis.(*partitions).load(", false},
		"looking":             {gateOnly, "msalredis.(*flight).wait(", false},
		"keeping the answer":  {full, "msalredis.(*flight).wait(", true},
		"storing the entries": {(*instance).accessorApp, "msalredis.(*Cache).Export(", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := breakable(t)
			i := w.instance(func(o *msalredis.Options) {
				o.OpTimeout, o.LockTTL, o.LocalTTL = time.Minute, 4*time.Minute, 4*time.Minute
			})
			// Clients of their own: MSAL keeps a second caller of one waiting at a mutex, whatever its context.
			leaves, stays := stage.client(i), stage.client(i)
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			if stage.asked {
				// So that MSAL has the partition, and does not wait for it before it stores.
				for _, app := range []confidential.Client{leaves, stays} {
					must(t)(app.AcquireTokenByCredential(ctx, []string{dynamics}))
				}
			}
			door := w.door()
			defer w.redis.Thaw()
			if !stage.asked {
				w.redis.Freeze()
				door.open()
			}
			left := start(1, func(int) (confidential.AuthResult, error) {
				return leaves.AcquireTokenByCredential(ctx, []string{graph})
			})
			stayed := start(1, func(int) (confidential.AuthResult, error) {
				return stays.AcquireTokenByCredential(context.Background(), []string{graph})
			})
			if stage.asked {
				door.wait(t)
				if stage.waitsIn == "msalredis.(*Cache).Export(" {
					door.wait(t) // nothing joins these two
				} else {
					inGate(t, 2)
				}
				w.redis.Freeze()
				door.open()
			}
			inStack(t, stage.waitsIn, 2)
			leave()
			returns(t, "the caller that leaves", left, context.Canceled)
			w.redis.Thaw()
			oneToken(t, collect(t, 1, stayed))
		})
	}
}

// accessorApp is a client with the accessor alone.
func (i *instance) accessorApp() confidential.Client {
	i.w.t.Helper()
	return newApp(i.w.t, i.w.entra.Authority(tenant), i.tokens, i.w.entra.HTTPClient())
}

// So does one that waits for an Entra ID that never answers. Who stays gets the token of the next try, and who wants
// another token does not wait at all.
func TestCallerLeavesWhileEntraHangs(t *testing.T) {
	w := newWorld(t)
	i, elsewhere := w.instance(), w.instance()
	base := w.entra.Transport()
	defer base.CloseIdleConnections()
	base.ResponseHeaderTimeout = 8 * time.Second // the application's: it ends the request that hangs
	i.http = &http.Client{Transport: i.tokens.Transport(base)}
	app := i.app()
	w.entra.AddFault(entratest.Fault{Match: entratest.ByScope(graph), Hang: true, Times: 1})
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	acquire := func(app confidential.Client, ctx context.Context, scope string) <-chan got {
		return start(1, func(int) (confidential.AuthResult, error) {
			return app.AcquireTokenByCredential(ctx, []string{scope})
		})
	}
	left, stayed := acquire(app, ctx, graph), acquire(app, context.Background(), graph)
	inGate(t, 2)
	leftThere, stayedThere := acquire(elsewhere.app(), ctx, graph), acquire(elsewhere.app(), context.Background(), graph)
	inGate(t, 4)
	eventually(t, "the request arrives", func() bool { return w.entra.Count() == 1 })
	oneToken(t, collect(t, 1, acquire(app, context.Background(), dynamics)))
	leave()
	returns(t, "the caller that leaves", left, context.Canceled)
	returns(t, "the caller that leaves on another instance", leftThere, context.Canceled)
	if w.entra.Count(entratest.ByScope(graph)) != 1 || len(stayed) > 0 {
		t.Error("they returned when the request that hung was over, or never had to wait for it")
	}
	oneToken(t, append(collect(t, 1, stayed), collect(t, 1, stayedThere)...))
	w.count(t, 2, "the one that hung, and the next try", entratest.ByScope(graph))
}
