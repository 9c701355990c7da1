package msalredis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
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
