package cost_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// trips notes each script that is sent to Redis, and holds those of some kinds back.
type trips struct {
	held []string
	let  chan struct{}

	mu  sync.Mutex
	all []trip
}

type trip struct {
	what       string
	begun, end time.Time
}

func (r *trips) DialHook(next redis.DialHook) redis.DialHook { return next }
func (r *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (r *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		what := harness.StepOf(cmd)
		if what == "" {
			return next(ctx, cmd)
		}
		if slices.Contains(r.held, what) {
			<-r.let
			return next(ctx, cmd)
		}
		begun := time.Now()
		time.Sleep(20 * time.Millisecond) // so that what is sent side by side overlaps
		err := next(ctx, cmd)
		if redis.HasErrorPrefix(err, "NOSCRIPT") { // of a server that is new, once
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, trip{what, begun, time.Now()})
		return err
	}
}

// inARow is the longest row of trips of which each began when the one before it had ended: what a caller waits for.
func (r *trips) inARow() (row []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.all, func(a, b trip) int { return a.end.Compare(b.end) })
	var last time.Time
	for _, one := range r.all {
		if !one.begun.Before(last) {
			row, last = append(row, one.what), one.end
		}
	}
	return row
}

// Who wants a token that nobody has waits for five trips to Redis, and not for what is done behind it.
func TestColdTokenWaitsForFiveTrips(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, test := range map[string]struct {
		held []string // what is done behind the caller
		most int
		call func(w *harness.World, app confidential.Client) (confidential.AuthResult, error)
	}{
		"an app's": {[]string{"list answer", "keep answer", "release"}, 5,
			func(_ *harness.World, app confidential.Client) (confidential.AuthResult, error) {
				return app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			}},
		"a user's": {[]string{"release"}, 5,
			func(w *harness.World, app confidential.Client) (confidential.AuthResult, error) {
				u := w.AddUsers(1)[0]
				other := w.Instance()
				other.SignIn(other.App(), u)
				return harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)
			}},
		"on behalf of a user": {[]string{"release"}, 5,
			func(w *harness.World, app confidential.Client) (confidential.AuthResult, error) {
				assertion := w.Assertion(w.T, w.AddUsers(1)[0])
				return app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope})
			}},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			rdb := w.Client()
			r := &trips{held: test.held, let: make(chan struct{})}
			rdb.AddHook(r)
			here := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
			call, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := test.call(w, here.App())
				done <- err
			}()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-call.Done():
				t.Errorf("the caller waits for one of %q", test.held)
			}
			if row := r.inARow(); len(row) > test.most || len(row) == 0 {
				t.Errorf("%d trips in a row: %q, want %d at most", len(row), row, test.most)
			}
			close(r.let)
		})
	}
}
