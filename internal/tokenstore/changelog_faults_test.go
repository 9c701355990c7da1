package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// A full Redis takes an announcement, as it takes the removal.
func TestFullRedisTakesAnAnnouncement(t *testing.T) {
	server, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := server.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	st := newStore(t, rdb, prefix)
	server.FillMemory()
	if _, err := st.Remove(t.Context(), st.BeginRemoval(st.Of(pid, false), nil), true); err != nil {
		t.Fatal("the removal itself is refused: ", err)
	}
	if n, err := rdb.ZCard(t.Context(), st.o.Names.ChangeLog()).Result(); n == 0 {
		t.Errorf("ForgetAppTokens has returned without an error, and the log has %d announcements, %v", n, err)
	}
	if err := st.log.announce(t.Context(), pid); err != nil {
		t.Error(err)
	}
}

// A log that was empty, was written and was lost before the next reading is known to be incomplete.
func TestLossOfAChangeLogThatWasEmpty(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	st := newStore(t, rdb, prefix)
	st.log.read(ctx, time.Second)
	began := st.log.last.Load().since
	if err := st.log.announce(ctx, pid); err != nil {
		t.Fatal(err)
	}
	rdb.Del(ctx, st.o.Names.ChangeLog())
	st.log.read(ctx, 2*time.Second)
	if last := st.log.last.Load(); last.since == began && st.log.doubtOf(pid) == 0 {
		t.Error("all is said to be known, and the announcement was missed")
	}
}

// Text that is none of ours hides no announcement that comes later.
func TestForgedAnnouncementHidesNoLaterOnes(t *testing.T) {
	for name, forged := range map[string]string{"short": "x", "long": fmt.Sprintf("%0300d", 9)} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			rdb, prefix := realRedis(t)
			st := newStore(t, rdb, prefix)
			rdb.ZAdd(ctx, st.o.Names.ChangeLog(), redis.Z{Score: 1e17, Member: forged})
			st.log.read(ctx, time.Second)
			began := st.log.last.Load().since
			for range 3 {
				if err := st.log.announce(ctx, pid); err != nil {
					t.Fatal(err)
				}
			}
			st.log.read(ctx, 2*time.Second)
			if last := st.log.last.Load(); last.since == began && st.log.doubtOf(pid) == 0 {
				t.Error("three announcements are missed, for good")
			}
		})
	}
}

// What a reading has vouched for stays vouched for as of then, whatever becomes of those after it.
func TestFailedReadingsTakeNothingBack(t *testing.T) {
	const s = time.Second
	for name, after := range map[string]func(*changeLog){
		"two failed": func(l *changeLog) { l.fail(); l.fail() },
		"one failed, and the next was well": func(l *changeLog) {
			l.fail()
			l.take(191*s, "1 a x", false, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStore(t, nil, "p")
			r := st.Of(pid, false)
			st.log.take(1*s, "1 a x", false, nil)
			r.Apply(record.Looked{Version: 1, At: 1, Now: 100 * s})
			st.log.take(190*s, "1 a x", true, nil)
			after(st.log)
			if got := st.Confirmed(r, r.Known()); got != 190*s {
				t.Errorf("confirmed as of %v, want 190s: at 191s a caller waits for a look", got)
			}
		})
	}
}

// A removal that Redis lost, and is told of again, is announced as every other.
func TestRemovalThatIsToldAgainIsAnnounced(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	there, here := newStore(t, rdb, prefix), newStore(t, rdb, prefix)
	there.o.LocalTTL = time.Hour
	write(t, rdb, here, pid, "old")
	rd := here.Of(pid, false)
	if err := here.Load(ctx, rd); err != nil || rd.Known().Empty() {
		t.Fatal(err, rd.Known().Empty())
	}
	// The removal is carried out on a primary that dies before its replica knows: there knows of it, Redis does not.
	now := toldTime(t, rdb)
	there.Hear(pid, layout.Tombstone{Whole: now})
	if err := there.Load(ctx, there.Of(pid, false)); err != nil { // finds that Redis has lost it, and buries
		t.Fatal(err)
	}
	for until := time.Now().Add(5 * time.Second); rdb.Exists(ctx, there.o.Names.Tokens(pid)).Val() == 1; {
		if time.Now().After(until) {
			t.Fatal("not buried: the test has lost its point")
		}
		time.Sleep(5 * time.Millisecond)
	}
	there.o.Workers.Close()
	if n := rdb.ZCard(ctx, there.o.Names.ChangeLog()).Val(); n == 0 {
		t.Error("the tokens are gone from Redis, and nothing is announced: here relies on them for vouchedFor")
	}
}

// write writes an app's token that is due later.
func write(t *testing.T, rdb *redis.Client, st *Store, pid ID, secret string) {
	t.Helper()
	writeDue(t, rdb, st, pid, secret, time.Now().Add(30*time.Minute))
}

func writeDue(t *testing.T, rdb *redis.Client, st *Store, pid ID, secret string, due time.Time) {
	t.Helper()
	e, err := msaldoc.NewEntry(msaldoc.SectionAccessToken, "at", fmt.Appendf(nil,
		`{"secret":"%s","expires_on":"%d","refresh_on":"%d"}`, secret, time.Now().Add(time.Hour).Unix(), due.Unix()))
	if err != nil {
		t.Fatal(err)
	}
	now := toldTime(t, rdb)
	if _, err := st.Write(t.Context(), Batch{Record: st.Of(pid, false),
		Entries: []record.Entry{record.New(e, now, now)}}); err != nil {
		t.Fatal(err)
	}
}

// A token that another instance has put in the place of one, as after a challenge, is seen within LocalTTL.
func TestNewerTokenElsewhereIsSeenWithinLocalTTL(t *testing.T) {
	const localTTL = 200 * time.Millisecond
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	there, here := newStore(t, rdb, prefix), newStore(t, rdb, prefix)
	here.o.LocalTTL, here.log.doubtedFor = localTTL, time.Millisecond
	write(t, rdb, there, pid, "old")
	use := func() (secret string) { // as the accessor does
		r := here.Of(pid, false)
		if !here.Fresh(r, localTTL) {
			if err := here.Load(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		if here.elapsed()-here.Confirmed(r, r.Known()) >= localTTL/2 {
			here.Revalidate(r)
		}
		for _, e := range r.Known().Live(toldTime(t, rdb)) {
			secret = e.Secret
		}
		return secret
	}
	during := func(d time.Duration) (secret string) {
		for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(localTTL / 20) {
			secret = use()
		}
		return secret
	}
	during(4 * localTTL)
	write(t, rdb, there, pid, "new")
	if got := during(10 * localTTL); got != "new" {
		t.Errorf("after ten times LocalTTL the token is %q", got)
	}
}

// An ordinary refresh is not announced: the token was due, and each instance that has it looks by itself. Announced, it
// would make all ask about its tenant for half a minute.
func TestRefreshOfADueTokenIsNotAnnounced(t *testing.T) {
	rdb, prefix := realRedis(t)
	st := newStore(t, rdb, prefix)
	refreshed, challenged := layout.PartitionID("refreshed"), layout.PartitionID("challenged")
	writeDue(t, rdb, st, refreshed, "old", time.Now().Add(-time.Second))
	write(t, rdb, st, refreshed, "new")
	write(t, rdb, st, challenged, "old")
	write(t, rdb, st, challenged, "new")
	var announced string
	for until := time.Now().Add(10 * time.Second); !strings.Contains(announced, string(challenged)); {
		if time.Now().After(until) {
			t.Fatalf("a token that was not due has been replaced, and the log has %q", announced)
		}
		time.Sleep(time.Millisecond)
		announced = strings.Join(rdb.ZRange(t.Context(), st.o.Names.ChangeLog(), 0, -1).Val(), ",")
	}
	if strings.Contains(announced, string(refreshed)) {
		t.Errorf("an ordinary refresh is announced: %q", announced)
	}
}

// late delays what is asked after Redis has answered: a process that was stopped, a network that delivers late.
type late struct {
	of             string
	answered, wait chan struct{}
}

func (h *late) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *late) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h *late) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if len(cmd.Args()) > 1 && fmt.Sprint(cmd.Args()[1]) == h.of {
			select {
			case h.answered <- struct{}{}:
			default:
			}
			<-h.wait
		}
		return err
	}
}

// A look that Redis has answered before a removal, and that arrives after the doubt about it is over, confirms nothing
// of then.
func TestLateLookConfirmsNothing(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	slow := redis.NewClient(rdb.Options())
	t.Cleanup(func() { _ = slow.Close() })
	h := &late{layout.LoadScript.Hash(), make(chan struct{}, 1), make(chan struct{})}
	slow.AddHook(h)
	there, here := newStore(t, rdb, prefix), newStore(t, slow, prefix)
	here.log.doubtedFor = 20 * time.Millisecond // in the place of 50 s
	write(t, rdb, there, pid, "old")
	if err := there.Load(ctx, there.Of(pid, false)); err != nil { // Redis has the script
		t.Fatal(err)
	}
	here.log.read(ctx, here.elapsed())
	time.Sleep(50 * time.Millisecond) // the first reading's doubt is over
	r := here.Of(pid, false)
	looked := make(chan error)
	go func() { looked <- here.Load(ctx, r) }()
	<-h.answered
	if _, err := there.Remove(ctx, there.BeginRemoval(there.Of(pid, false), nil), true); err != nil {
		t.Fatal(err)
	}
	here.log.read(ctx, here.elapsed()) // tells of it
	time.Sleep(50 * time.Millisecond)  // for longer than it doubts
	close(h.wait)
	if err := <-looked; err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	at := here.elapsed()
	here.log.read(ctx, at)
	if !r.Known().Empty() && here.Confirmed(r, r.Known()) == at {
		t.Error("the log vouches for a token that was removed before it was last asked about")
	}
}

// A reading that waited for its turn doubts from when it was answered.
func TestLateReadingDoubtsFromItsAnswer(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	st := newStore(t, rdb, prefix)
	st.log.doubtedFor = time.Second // in the place of 50 s; the reading waits for longer
	if err := st.log.announce(ctx, pid); err != nil {
		t.Fatal(err)
	}
	st.log.read(ctx, 1)
	time.Sleep(1100 * time.Millisecond)
	if err := st.log.announce(ctx, pid); err != nil {
		t.Fatal(err)
	}
	r := st.Of(pid, false)
	st.log.read(ctx, 2) // begun long ago, answered now
	if got, now := time.Duration(r.doubted.Load()), st.elapsed(); got < now {
		t.Errorf("announced a moment ago, at %v, and in doubt until %v", now, got)
	}
}

// unreachable is a cluster whose node with the change log cannot be reached.
type unreachable struct{}

func (unreachable) DialHook(next redis.DialHook) redis.DialHook { return next }
func (unreachable) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (unreachable) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.Contains(fmt.Sprint(cmd.Args()...), "{changes}") {
			err := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

// Where the node of the log alone cannot be reached, what lives on the others is read and removed as without a log.
func TestNodeOfTheChangeLogIsUnreachable(t *testing.T) {
	ctx := t.Context()
	rdb, prefix := realRedis(t)
	for name, do := range map[string]func(*Store) error{
		"a removal": func(st *Store) error {
			_, err := st.Remove(ctx, st.BeginRemoval(st.Of(pid, false), nil), true)
			return err
		},
		"a look after a hit": func(st *Store) error {
			r := st.Of(pid, false)
			if err := st.Load(ctx, r); err != nil {
				t.Fatal(err)
			}
			st.Revalidate(r)
			for until := time.Now().Add(time.Second); st.log.last.Load() == nil && time.Now().Before(until); {
				time.Sleep(time.Millisecond)
			}
			return st.Load(ctx, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cut := redis.NewClient(rdb.Options())
			t.Cleanup(func() { _ = cut.Close() })
			cut.AddHook(unreachable{})
			if err := do(newStore(t, cut, prefix)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A record that is made while its partition is announced is in doubt.
func TestRecordMadeWhileItIsAnnounced(t *testing.T) {
	st := newStore(t, nil, "p")
	st.log.take(1, "1 a x", false, nil)
	const until = 100 * time.Second
	missed := 0
	for i := range 5000 {
		pid := layout.PartitionID(fmt.Sprint(i))
		var both sync.WaitGroup
		start := make(chan struct{})
		both.Go(func() { <-start; st.Of(pid, false) })
		both.Go(func() { <-start; st.log.take(until, "1 a x", true, []string{"2 b " + string(pid)}) })
		close(start)
		both.Wait()
		if r := st.Peek(pid); r != nil && time.Duration(r.doubted.Load()) < until {
			missed++
		}
		st.log.mu.Lock()
		clear(st.log.doubts)
		st.log.mu.Unlock()
	}
	if missed > 0 {
		t.Errorf("%d of 5000 records are vouched for although they were announced", missed)
	}
}
