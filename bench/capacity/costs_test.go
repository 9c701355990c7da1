package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// What an instance's commands take of Redis, and what is kept of a tenant, is what costs.go says: within a factor, for
// another machine is as quick as it is. It is told in full, to be put there.
func TestLongCosts(t *testing.T) {
	long.Test(t)
	const tenants, atMost = 200, 3
	server := redistest.Start(t)
	w := harness.WorldOn(t, harness.Alone(t, server, harness.Address{}))
	ctx := context.Background()
	rdb, watch := w.Client(), &stopwatch{t: t, w: w}
	rdb.AddHook(watch)
	o := harness.Options(w.Prefix)
	o.LocalTTL = 2 * time.Second
	i := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), o)
	var apps []confidential.Client
	for n := range tenants {
		apps = append(apps, harness.NewApp(t, w.Entra.Authority(harness.TenantName(n)), i.Tokens, i.HTTP))
	}
	use := func() {
		for _, app := range apps {
			harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
		}
	}
	use()
	w.Settled()
	kept := memory(t, w) / tenants
	for range 4 {
		harness.WaitUntil(time.Now().Add(o.LocalTTL / 2))
		use()
	}
	for n := range tenants {
		harness.Succeeds(t, i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.TenantName(n)))
	}
	entry := watch.entry()
	for c, took := range watch.medians() {
		if took == 0 {
			continue
		}
		t.Logf("%-10s %4d times, median %.0f us; in costs.go %.0f", names[c], len(watch.took[c]), took, microseconds[c])
		if took > atMost*microseconds[c] || microseconds[c] > atMost*max(took, 2) {
			t.Errorf("%s takes %.0f us, costs.go says %.0f", names[c], took, microseconds[c])
		}
	}
	t.Logf("an announcement that is read: %.2f us; in costs.go %.2f", entry, microsecondsOfEntry)
	t.Logf("a tenant: %d bytes; in costs.go %d", kept, bytesOfApp)
	if kept > 2*bytesOfApp || bytesOfApp > 2*kept {
		t.Errorf("%d bytes, costs.go says %d", kept, bytesOfApp)
	}
}

// stopwatch sends one command at a time, and asks Redis before and after it what it has taken. SLOWLOG would do that as
// well, but notes each command inside a script, which takes longer than the command.
type stopwatch struct {
	t    *testing.T
	w    *harness.World
	mu   sync.Mutex
	took [commands][]float64
}

func (s *stopwatch) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s *stopwatch) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (s *stopwatch) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c, ok := commandOf(cmd)
		if !ok || cmd.Name() == "eval" { // once, to be compiled
			return next(ctx, cmd)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		before := s.spent(cmd.Name())
		err := next(ctx, cmd)
		if err == nil {
			s.took[c] = append(s.took[c], s.spent(cmd.Name())-before)
		}
		return err
	}
}

// spent is what Redis has spent on commands of a name, in microseconds.
func (s *stopwatch) spent(name string) float64 {
	text, err := s.w.Redis.Admin.Info(context.Background(), "commandstats").Result()
	if err != nil {
		s.t.Error(err)
	}
	_, after, _ := strings.Cut(text, "cmdstat_"+name+":calls=")
	_, after, _ = strings.Cut(after, ",usec=")
	digits, _, _ := strings.Cut(after, ",")
	us, _ := strconv.ParseFloat(digits, 64)
	return us
}

func (s *stopwatch) medians() (medians [commands]float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range medians {
		if len(s.took[c]) > 0 {
			slices.Sort(s.took[c])
			medians[c] = s.took[c][len(s.took[c])/2]
		}
	}
	return medians
}

// entry is what one announcement takes that is read: from readings of a whole log, and of nothing new.
func (s *stopwatch) entry() float64 {
	ctx, log := context.Background(), layout.Names{Prefix: s.w.Prefix}.ChangeLog()
	all, err := s.w.Redis.Admin.ZRange(ctx, log, 0, -1).Result()
	if err != nil || len(all) < 2 {
		s.t.Fatal(err, len(all))
	}
	const readings = 200
	read := func(position string) float64 {
		before := s.spent("evalsha")
		for range readings {
			if err := layout.HeedScript.Run(ctx, s.w.Redis.Admin, []string{log}, position,
				strconv.Itoa(layout.ChangeLogLength), "word", "100000000").Err(); err != nil {
				s.t.Fatal(err)
			}
		}
		return (s.spent("evalsha") - before) / readings
	}
	nothing := read(all[len(all)-1])
	s.took[heed] = []float64{nothing} // the instance has read it a few times only
	return (read(all[0]) - nothing) / float64(len(all)-1)
}

// memory is what all keys take.
func memory(t *testing.T, w *harness.World) (n int64) {
	t.Helper()
	ctx := context.Background()
	for _, key := range w.KeysOf() {
		took, err := w.Redis.Admin.MemoryUsage(ctx, key).Result()
		if err != nil {
			t.Fatal(err)
		}
		n += took
	}
	return n
}
