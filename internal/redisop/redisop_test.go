package redisop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/workers"
)

const timeout = 250 * time.Millisecond

// made is a Redis to which connections can be made while it is up; each command there is answered as a PING is.
type made struct {
	*Redis
	up   atomic.Bool
	back atomic.Int64 // how often it was away and is back
	log  bytes.Buffer // read when all has ended
	end  func()
}

func newMade(t *testing.T, slots int) *made {
	t.Helper()
	m := &made{}
	client := redis.NewClient(&redis.Options{
		Addr:     "127.0.0.1:1", // no name: its look-up would leave the bubble
		PoolSize: 2 * slots, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true, Protocol: 2,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if !m.up.Load() {
				return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
			}
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				buffer := make([]byte, 4096)
				for {
					n, err := theirs.Read(buffer)
					if err != nil {
						return
					}
					commands, answer := strings.ToUpper(string(buffer[:n])), "+PONG\r\n"
					switch {
					case strings.Contains(commands, "HELLO"):
						answer = "-ERR unknown command\r\n"
					case strings.Contains(commands, "PTTL"):
						answer = ":-2\r\n"
					}
					if _, err := theirs.Write([]byte(strings.Repeat(answer, max(1, strings.Count(commands, "*"))))); err != nil {
						return
					}
				}
			}()
			return ours, nil
		},
	})
	life, cancel := context.WithCancel(context.Background())
	group := &workers.Group{}
	m.Redis = New(client, Options{
		Timeout: timeout, LeaseTTL: 5 * time.Second, Clock: redistime.New(time.Now(), time.Minute),
		Metrics: telemetry.Nowhere, Log: telemetry.NewLogger(slog.New(slog.NewTextHandler(&m.log, nil))),
		OnBack: func() { m.back.Add(1) }, Life: life, Workers: group,
	})
	m.end = func() {
		cancel()
		_ = m.Close()
		group.Close()
		_ = client.Close()
	}
	return m
}

type op = func(context.Context, redis.UniversalClient) error

func does(err error) op { return func(context.Context, redis.UniversalClient) error { return err } }

var errRefused = &net.OpError{Op: "dial", Err: errors.New("connection refused")}

func hasEnded(o *Operation) bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

// Operations queue for the slots, in order, for longer than a time-out, and that is not Redis being away. One whose
// caller has left is carried out all the same.
func TestQueueIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t, 1)
		defer m.end()
		const each = timeout - 10*time.Millisecond
		var order []int
		queue := make([]*Operation, 5)
		for i := range queue {
			queue[i] = m.prepare(t.Context(), "k", func(context.Context, redis.UniversalClient) error {
				time.Sleep(each)
				order = append(order, i)
				return nil
			})
			m.Start(queue[i])
			synctest.Wait()
		}
		if !m.Queues() || hasEnded(queue[4]) {
			t.Error("nothing queues")
		}
		leaves, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		if err := queue[4].Wait(leaves); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who leaves has %v", err)
		}
		for i, o := range queue {
			if err := o.Wait(t.Context()); err != nil {
				t.Errorf("operation %d: %v", i, err)
			}
		}
		synctest.Wait()
		if want := []int{0, 1, 2, 3, 4}; !slices.Equal(order, want) || m.Breaker.IsOpen() || m.Queues() {
			t.Errorf("they were carried out as %v; away: %v", order, m.Breaker.IsOpen())
		}
	})
}

// Where go-redis bounds each read, an operation that waits for a processor before it reads has all of its time to read
// in, and Redis is not taken for away.
func TestWaitForAProcessorIsNoOutage(t *testing.T) {
	refused := func(context.Context, string, string) (net.Conn, error) { return nil, errRefused }
	for name, test := range map[string]struct {
		client func() redis.UniversalClient
		away   bool
	}{
		"one server": {func() redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Dialer: refused})
		}, false},
		"a cluster": {func() redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{
				Addrs: []string{"127.0.0.1:1"}, Dialer: refused, ContextTimeoutEnabled: true,
			})
		}, false},
		"a cluster's client that ignores contexts": {func() redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, Dialer: refused})
		}, true},
		"a cluster's client that sets no deadline": {func() redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{
				Addrs: []string{"127.0.0.1:1"}, Dialer: refused, ContextTimeoutEnabled: true, ReadTimeout: -2,
			})
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			life, end := context.WithCancel(context.Background())
			group, client := &workers.Group{}, test.client()
			r := New(client, Options{
				Timeout: timeout, LeaseTTL: 5 * time.Second, Clock: redistime.New(time.Now(), time.Minute),
				Metrics: telemetry.Nowhere, Log: telemetry.NewLogger(slog.New(slog.DiscardHandler)),
				OnBack: func() {}, Life: life, Workers: group,
			})
			var left time.Duration
			err := r.Do(t.Context(), "k", func(ctx context.Context, _ redis.UniversalClient) error {
				time.Sleep(2 * timeout)
				at, _ := ctx.Deadline()
				left = time.Until(at)
				return nil
			})
			synctest.Wait()
			if away := r.Breaker.IsOpen(); away != test.away || away == (err == nil) {
				t.Errorf("%s: away %v, %v", name, away, err)
			}
			_, cluster := client.(*redis.ClusterClient)
			if begun := time.Now(); cluster && !test.away { // it waits for more than its reads and writes
				err := r.Do(context.Background(), "k", func(context.Context, redis.UniversalClient) error {
					time.Sleep(time.Minute)
					return nil
				})
				if took := time.Since(begun); err == nil || took > 5*timeout { // the last is for whether the pool is crowded
					t.Errorf("%s: who asks leaves after %v: %v", name, took, err)
				}
			}
			end()
			_ = r.Close()
			group.Close()
			_ = client.Close()
			time.Sleep(time.Minute) // what go-redis tries again behind
			if cluster && !test.away && left != timeout {
				t.Errorf("%s: %v to read in", name, left)
			}
		})
	}
}

// Who asks while Redis is known to be away has been told so before it asks.
func TestWhatBeginsWhileRedisIsAwayHasEnded(t *testing.T) {
	b := newBreaker()
	b.Open()
	for range 1000 {
		ctx, end := b.bound(t.Context())
		err := context.Cause(ctx)
		end()
		if !errors.Is(err, ErrAway) {
			t.Fatalf("it begins with %v, want %v", err, ErrAway)
		}
	}
}

// The first operation that finds Redis away ends what queues, and nobody waits or asks until the probe has found it
// back, on a new connection.
func TestBreaker(t *testing.T) {
	for name, finds := range map[string]op{
		"it is refused": does(errRefused),
		"it hangs": func(ctx context.Context, _ redis.UniversalClient) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMade(t, 1)
			first := m.prepare(t.Context(), "k", func(ctx context.Context, client redis.UniversalClient) error {
				time.Sleep(10 * time.Millisecond)
				return finds(ctx, client)
			})
			m.Start(first)
			synctest.Wait()
			asked := false
			asks := func(context.Context, redis.UniversalClient) error { asked = true; return nil }
			queued := m.prepare(t.Context(), "k", asks)
			m.Start(queued)
			if err := first.Wait(t.Context()); Failure(err) != telemetry.RedisAway {
				t.Errorf("%s: %v", name, err)
			}
			if err := queued.Wait(t.Context()); !errors.Is(err, ErrAway) {
				t.Errorf("%s: what queued has %v", name, err)
			}
			before := time.Now()
			err := m.Do(t.Context(), "k", asks)
			if !errors.Is(err, ErrAway) || time.Since(before) != 0 || asked || !m.Breaker.IsOpen() {
				t.Errorf("%s: while it is away: %v after %v; asked: %v", name, err, time.Since(before), asked)
			}
			if _, err := m.TryLease(t.Context(), "k"); !errors.Is(err, ErrAway) {
				t.Errorf("%s: a lease: %v", name, err)
			}
			time.Sleep(time.Minute)
			if !m.Breaker.IsOpen() || m.back.Load() != 0 {
				t.Errorf("%s: it is back, and was not", name)
			}
			m.up.Store(true)
			time.Sleep(10 * time.Second) // go-redis dials again once a second
			synctest.Wait()
			if m.Breaker.IsOpen() || m.back.Load() != 1 {
				t.Errorf("%s: it is not back; told %d times", name, m.back.Load())
			}
			if err := m.Do(t.Context(), "k", asks); err != nil || !asked {
				t.Errorf("%s: afterwards: %v", name, err)
			}
			m.end()
			for _, line := range []string{"Redis is away;", "Redis is back"} {
				if n := strings.Count(m.log.String(), line); n != 1 {
					t.Errorf("%s: the log says %q %d times", name, line, n)
				}
			}
		})
	}
}

// A refusal is an answer: it goes to its caller, and nothing else changes.
func TestRefusalIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t, 1)
		defer m.end()
		for _, err := range []error{redis.Nil, ErrReply, fmt.Errorf("a script: %w", ErrReply)} {
			if got := m.Do(t.Context(), "k", does(err)); !errors.Is(got, err) || m.Breaker.IsOpen() {
				t.Errorf("%v came as %v; away: %v", err, got, m.Breaker.IsOpen())
			}
		}
	})
}

// After the end nothing is carried out.
func TestAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMade(t, 1)
		m.end()
		for _, ctx := range []context.Context{context.Background(), t.Context()} { // in this goroutine, and in one of its own
			err := m.Do(ctx, "k", func(context.Context, redis.UniversalClient) error {
				t.Error("it is carried out")
				return nil
			})
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%v", err)
			}
		}
	})
}

// saying is an error as Redis sends it.
type saying string

func (e saying) Error() string { return string(e) }
func (saying) RedisError()     {}

func TestFailure(t *testing.T) {
	for _, test := range []struct {
		err  error
		want telemetry.RedisFailure
	}{
		{nil, ""},
		{errRefused, telemetry.RedisAway},
		{context.DeadlineExceeded, telemetry.RedisAway},
		{net.ErrClosed, telemetry.RedisAway},
		{io.EOF, telemetry.RedisAway},
		{errBusy, telemetry.RedisAway},
		{saying("LOADING Redis is loading"), telemetry.RedisAway},
		{saying("CLUSTERDOWN x"), telemetry.RedisAway},
		{saying("MASTERDOWN x"), telemetry.RedisAway},
		{saying("TRYAGAIN x"), telemetry.RedisAway},
		{saying("BUSY x"), telemetry.RedisAway},
		{saying("READONLY x"), telemetry.RedisRefused},
		{saying("OOM x"), telemetry.RedisRefused},
		{saying("NOPERM x"), telemetry.RedisRefused},
		{ErrReply, telemetry.RedisRefused},
	} {
		if got := Failure(test.err); got != test.want {
			t.Errorf("%v is %q, want %q", test.err, got, test.want)
		}
	}
}

func TestReply(t *testing.T) {
	for _, test := range []struct {
		values []any
		want   []string // nil: no reply
	}{
		{nil, nil},
		{[]any{}, nil},
		{[]any{"x"}, nil},
		{[]any{nil}, nil},
		{[]any{[]any{"1"}}, nil},
		{[]any{[]any{}}, nil},
		{[]any{"1", 1.5}, nil},
		{[]any{"1", []any{int64(1)}}, nil},
		{[]any{"17"}, []string{}},
		{[]any{int64(17)}, []string{}},
		{[]any{"17", int64(-3), "a", []any{"b", "c"}, []any{}}, []string{"-3", "a", "b", "c"}},
	} {
		r, err := parseReply(test.values)
		if test.want == nil {
			if !errors.Is(err, ErrReply) {
				t.Errorf("%v is %v, %v", test.values, r, err)
			}
			continue
		}
		if err != nil || r.Time != 17 || !slices.Equal(r.Fields, test.want) {
			t.Errorf("%v is %v, %v", test.values, r, err)
		}
	}
	r := Reply{Fields: []string{"-3", "a"}}
	for i, want := range []int64{-3, -1, -1} {
		if got := r.Number(i); got != want {
			t.Errorf("field %d is the number %d, want %d", i, got, want)
		}
	}
}
