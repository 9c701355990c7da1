package tokenstore

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
)

// changeLog is the change log in Redis, as this process has read it. It vouches for records of apps: nothing of one was
// removed or replaced since Redis has last confirmed it. So a process that works for hundreds of tenants asks Redis
// twice in LocalTTL, and not for each partition in use.
//
// Not for those of users: Redis may evict one that nobody asks about, and whoever knows it should notice and write it
// back before another instance sends its user to sign in. An app's costs a token request.
//
// A removal is announced before it is carried out, so that no one that is known to be done is missing from the log,
// whenever its instance dies. From when an announcement is read, its partition is asked about each LocalTTL as without
// a log, for as long as the removal may still be under way. A token that takes the place of another, as after a
// challenge, is announced when it is stored. One that was due is not: who has it looks by itself, or puts that off for
// half a minute at most while another asks.
//
// What the log does not tell, as after its loss or beyond its length, puts all records in doubt in the same way. So
// does a reading that fails, because an announcement may have failed meanwhile.
type changeLog struct {
	st           *Store
	announcedFor time.Duration
	doubtedFor   time.Duration // announcedFor, and how long a look may take that began before
	vouchedFor   time.Duration

	last atomic.Pointer[reading]
	busy atomic.Bool // a reading is under way

	mu       sync.Mutex
	position string               // the latest announcement that was read; "": none is to be relied on
	doubts   map[ID]time.Duration // until when partitions are in doubt
}

// reading is one of the change log. It is never changed.
type reading struct {
	at     time.Duration // when it was begun, since the process's start; 0: it failed
	since  time.Duration // what was confirmed before is in doubt
	before *reading      // the one before it: what it vouches for stays vouched for as of then
}

const (
	// announcedFor is how long after its announcement a removal may be under way at most. One that takes longer is
	// announced again.
	announcedFor = 30 * time.Second
	// vouchedFor is how long the log vouches for a record that was not asked about. Asking shows that one was lost, and
	// bounds what a log that is wrong can do.
	vouchedFor = 5 * time.Minute
)

func newChangeLog(st *Store) *changeLog {
	return &changeLog{
		st: st, announcedFor: announcedFor, doubtedFor: announcedFor + 4*st.o.OpTimeout, vouchedFor: vouchedFor,
		doubts: map[ID]time.Duration{},
	}
}

// Confirmed is when Redis has last confirmed what is known of a record, since the process's start, by itself or by the
// change log; 0: look before relying on it.
func (st *Store) Confirmed(r *Record, known *Known) time.Duration {
	confirmed := known.Checked
	// In this order: a partition is put in doubt before the reading is there that tells of it.
	last := st.log.last.Load()
	if confirmed == 0 || last == nil || r.User || confirmed <= time.Duration(r.doubted.Load()) {
		return confirmed
	}
	for _, read := range [...]*reading{last, last.before} {
		if read != nil && confirmed > read.since && read.at > confirmed && read.at-confirmed < st.log.vouchedFor {
			return read.at
		}
	}
	return confirmed
}

// Fresh tells whether Redis has confirmed what is known of a record within age. That nothing is there is not fresh:
// another instance may have signed the user in since, and the caller is about to pay for much more than a look. Unless
// it has just paid: see ExpectWrite.
func (st *Store) Fresh(r *Record, age time.Duration) bool {
	now, k := st.elapsed(), r.Known()
	if k.Empty() {
		if at := time.Duration(r.expected.Load()); at == 0 || now-at > expectedFor {
			return false
		}
	}
	confirmed := st.Confirmed(r, k)
	return confirmed != 0 && now-confirmed < age
}

// vouches tells whether a reading that is begun now would vouch for a record.
func (l *changeLog) vouches(r *Record, now time.Duration) bool {
	checked, last := r.Known().Checked, l.last.Load()
	return last != nil && last.at > 0 && !r.User && checked > last.since && checked > time.Duration(r.doubted.Load()) &&
		now-checked < l.vouchedFor
}

// heed reads the log in the background, if that is due.
func (l *changeLog) heed() {
	now, last := l.st.elapsed(), l.last.Load()
	if last != nil && last.at > 0 && now-last.at < l.st.o.LocalTTL/2 || l.st.o.Redis.Breaker.IsOpen() ||
		l.busy.Swap(true) {
		return
	}
	if !l.st.background(func(ctx context.Context) {
		defer l.busy.Store(false)
		l.read(ctx, now)
	}) {
		l.busy.Store(false)
	}
}

func (l *changeLog) read(ctx context.Context, at time.Duration) {
	l.mu.Lock()
	position := l.position
	l.mu.Unlock()
	err := l.st.o.Redis.RunAside(ctx, layout.HeedScript, []string{l.st.o.Names.ChangeLog()}, func(r redisop.Reply) error {
		if len(r.Fields) < 2 {
			return redisop.ErrReply
		}
		for _, r := range l.take(at, r.Fields[0], r.Fields[1] == "1", r.Fields[2:]) {
			l.st.Revalidate(r)
		}
		return nil
	}, position, digits(layout.ChangeLogLength), rand.Text(), digits(layout.TombstoneLife.Milliseconds()))
	if err != nil {
		l.fail()
	}
}

// fail takes note of a reading that has failed.
func (l *changeLog) fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.position = ""
	l.publish(&reading{})
}

// take takes in a reading that was begun at a time. in doubt are the records that it tells of.
func (l *changeLog) take(at time.Duration, latest string, all bool, announced []string) (inDoubt []*Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid, until := range l.doubts {
		if until < at {
			delete(l.doubts, pid)
		}
	}
	until := max(at, l.st.elapsed()) + l.doubtedFor // it may have waited for its turn
	for _, text := range announced {
		pid, ok := layout.Announced(text)
		if !ok {
			continue
		}
		l.doubts[pid] = until
		if r := l.st.Peek(pid); r != nil {
			r.doubt(until)
			inDoubt = append(inDoubt, r)
		}
	}
	next := &reading{at: at}
	if last := l.last.Load(); last != nil {
		next.since = last.since
	}
	if !all {
		next.since = until
	}
	l.position = latest
	l.publish(next)
	return inDoubt
}

// publish makes a reading the last one. The caller holds mu.
func (l *changeLog) publish(next *reading) {
	last := l.last.Load()
	if last != nil && last.at == 0 {
		last = last.before // what the last good one has vouched for stays true
	}
	if last != nil {
		next.before = &reading{at: last.at, since: last.since}
	}
	l.last.Store(next)
}

// doubtOf is until when a partition is in doubt.
func (l *changeLog) doubtOf(pid ID) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doubts[pid]
}

// doubt puts a record in doubt: the log does not vouch for what was confirmed before.
func (r *Record) doubt(until time.Duration) {
	for old := r.doubted.Load(); old < int64(until); old = r.doubted.Load() {
		if r.doubted.CompareAndSwap(old, int64(until)) {
			return
		}
	}
}

// announce announces that a partition changes. Nobody takes its failure for Redis being away: on a cluster the
// log may live on a node of its own.
func (l *changeLog) announce(ctx context.Context, pid ID) error {
	return l.st.o.Redis.RunAside(ctx, layout.AnnounceScript, []string{l.st.o.Names.ChangeLog()},
		func(redisop.Reply) error { return nil },
		string(pid), rand.Text(), digits(layout.ChangeLogLength), digits(layout.TombstoneLife.Milliseconds()))
}

// announced carries a removal out that it announces before; and after, where that has failed or is too long ago.
func (l *changeLog) announced(ctx context.Context, r *Record, remove func(waited time.Duration) error) error {
	began := time.Now()
	announced := l.announce(ctx, r.ID) == nil
	if err := remove(time.Since(began)); err != nil || announced && time.Since(began) < l.announcedFor/2 {
		return err
	}
	if err := l.announce(ctx, r.ID); err != nil {
		l.st.o.Log.Warn("a removal of tokens could not be announced to other instances; it is tried again until it succeeds",
			"error", err)
		l.st.Keep("announcement "+string(r.ID), &Waiting{Size: 256, Must: r, Push: func(ctx context.Context) error {
			return l.announce(ctx, r.ID)
		}})
	}
	return nil
}
