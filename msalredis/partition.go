package msalredis

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
)

// snapshot is what is known of a partition at a moment. It is never changed.
type snapshot struct {
	version    int64             // Redis's; 0: no record there
	generation int64             // of the last sign-out that this is of after; 0: none
	entries    map[string]stored // by field
}

// later is e, or what is held of the same token where that is to be refreshed later.
func (s *snapshot) later(e stored) stored {
	if s != nil {
		if held, ok := s.entries[e.field]; ok && held.Secret == e.Secret && held.RefreshOn > e.RefreshOn && held.stamp == e.stamp {
			return held
		}
	}
	return e
}

// live are the entries whose token has not expired.
func (s *snapshot) live(us int64) []stored {
	if s == nil {
		return nil
	}
	var live []stored
	for _, field := range slices.Sorted(maps.Keys(s.entries)) {
		if e := s.entries[field]; !e.dead(us) {
			live = append(live, e)
		}
	}
	return live
}

// partition is the process's one holder of what is known of a partition, shared by every MSAL manager that
// uses it.
type partition struct {
	pid  id
	user bool // an account's: it slides; false: an app's tokens

	snap    atomic.Pointer[snapshot]
	checked atomic.Int64 // when Redis last confirmed snap, since the Cache's start; 0: look before relying on it
	evicted atomic.Bool
	whole   atomic.Bool // the next question is for the record whole, whatever version is known

	asking sync.Mutex         // orders questions
	asked  *redisop.Operation // the last question to be shared

	mu        sync.Mutex // orders changes of snap and all that follows
	asOf      int64      // Redis's time of this knowledge, in microseconds
	confirmed int64      // when Redis last gave it, since the Cache's start; 0: it never did
	// unsaved are entries that Redis has not taken yet, because it is away or refuses writes. They stand above
	// what is read.
	unsaved map[string]unsaved
	waits   int64 // their size, as pending, whose mutex it is under, has counted it
	writing int   // writes under way: what they bring is not in Redis yet, and nothing it has lost
	// signedOut is this process's last sign-out: asked is the generation that it has given itself, and done that of the
	// tombstone, once there is one. What was asked for from asked on belongs to a session that follows it.
	signedOut struct{ asked, done int64 }
	// forgetting are this process's removals of some tokens which Redis has not carried out, by their scopes.
	forgetting map[string]forgetting
}

// forgetting is a removal of the tokens that cover scopes and were asked for before a generation.
type forgetting struct {
	only  msaldoc.Scopes
	since int64
}

// leaveOut takes from what was read the tokens that this process has forgotten and Redis has not. The caller holds mu.
func (p *partition) leaveOut(s *snapshot) {
	for _, f := range p.forgetting {
		for field, e := range s.entries {
			if e.stamp < f.since && covers(e, f.only) {
				delete(s.entries, field)
			}
		}
	}
}

// forgot tells whether an answer that was asked for at started is of what this process has removed and Redis has not.
func (p *partition) forgot(s msaldoc.Scopes, started int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if started < p.signedOut.asked && p.signedOut.done == 0 {
		return true
	}
	for _, f := range p.forgetting {
		if started < f.since && s.ContainsAll(f.only) {
			return true
		}
	}
	return false
}

// knew is the generation of knowledge, which may be one that this process has given itself. The caller holds mu.
func (p *partition) knew(generation int64) int64 {
	if s := p.signedOut; s.asked > 0 && generation >= s.asked {
		return max(generation, s.done)
	}
	return generation
}

// since is a session's time, or that of the last removal that is known, whichever is later.
func (p *partition) since(session int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.snap.Load(); s != nil {
		session = max(session, s.generation)
	}
	return max(session, p.signedOut.asked, p.signedOut.done)
}

// unsaved is an entry that Redis has not taken yet, and what its write script is to be told.
type unsaved struct {
	stored
	known int64
	fresh bool
}

// fresh tells whether Redis has confirmed the snapshot within age. That nothing is there is never fresh: another
// instance may have signed the user in since, and the caller is about to pay for much more than a look.
func (p *partition) fresh(now int64, age time.Duration) bool {
	at := p.checked.Load()
	if s := p.snap.Load(); s == nil || len(s.entries) == 0 {
		return false
	}
	return at != 0 && now-at < int64(age)
}

// overtaken tells whether newer knowledge has come than the answer to a look. Answers of Redis may overtake one another; its clock
// orders them. One that a sign-out has overtaken tells what is gone. The caller holds mu.
func (p *partition) overtaken(generation, us int64) bool {
	held := p.snap.Load()
	return held != nil && p.asOf > us && (p.checked.Load() != 0 || generation < held.generation)
}

// partitions are those this process knows, bounded by their size.
type partitions struct {
	c     *Cache
	known *otter.Cache[id, *partition]
	mu    sync.Mutex // one holder per partition
}

func newPartitions(c *Cache) *partitions {
	return &partitions{c: c, known: otter.Must(&otter.Options[id, *partition]{
		MaximumWeight: uint64(c.o.LocalBytes),
		Executor:      atOnce,
		Weigher: func(_ id, p *partition) uint32 {
			size := int64(512)
			if s := p.snap.Load(); s != nil {
				for _, e := range s.entries {
					size += e.size()
				}
			}
			return uint32(min(size, 1<<31))
		},
		OnAtomicDeletion: func(e otter.DeletionEvent[id, *partition]) {
			// A manager may still hold it: from now on it must come and ask for the new holder. Replacing a
			// holder by itself, which weighs it anew, is no eviction.
			if e.Cause != otter.CauseReplacement {
				e.Value.evicted.Store(true)
			}
		},
	})}
}

// of is the holder of MSAL's partition key.
func (ps *partitions) of(key string) *partition {
	return ps.named(layout.PartitionID(key), !msaldoc.IsAppKey(key))
}

func (ps *partitions) named(pid id, user bool) *partition {
	if p, ok := ps.known.GetIfPresent(pid); ok {
		return p
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p, ok := ps.known.GetIfPresent(pid); ok {
		return p
	}
	if p := ps.c.pending.holder(pid); p != nil {
		p.evicted.Store(false)
		ps.known.Set(pid, p)
		return p
	}
	p := &partition{pid: pid, user: user}
	ps.known.Set(pid, p)
	return p
}

// peek is the holder of a partition if there is one.
func (ps *partitions) peek(pid id) *partition {
	p, _ := ps.known.GetIfPresent(pid)
	return p
}

// load asks Redis about a partition; callers at the same time share one question. It returns the knowledge
// after it, which on an error is what was known before, nil if nothing was.
func (ps *partitions) load(ctx context.Context, p *partition) (*snapshot, error) {
	p.asking.Lock()
	mine := p.asked == nil || p.asked.Over()
	if mine {
		p.asked = ps.question(ctx, p, nil)
	}
	asked := p.asked
	p.asking.Unlock()
	if mine {
		ps.c.redis.Begin(ctx, asked)
	}
	err := asked.Wait(ctx)
	return p.snap.Load(), err
}

// reload is load with a question of its own: what was asked before the caller had the lease may not know what the
// holder before it stored.
func (ps *partitions) reload(ctx context.Context, p *partition) (*snapshot, error) {
	o := ps.question(ctx, p, nil)
	ps.c.redis.Begin(ctx, o)
	err := o.Wait(ctx)
	return p.snap.Load(), err
}

// fields are those of a partition in Redis whose entries are chosen.
func (ps *partitions) fields(ctx context.Context, p *partition, chosen func(stored) bool) ([]any, error) {
	var mu sync.Mutex
	var found []any
	o := ps.question(ctx, p, func(e stored) {
		if chosen(e) {
			mu.Lock()
			defer mu.Unlock()
			found = append(found, e.field)
		}
	})
	ps.c.redis.Begin(ctx, o)
	err := o.Wait(ctx)
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(found), err
}

// question is the operation that asks Redis about a partition. see, if not nil, sees every entry there, whatever is known.
func (ps *partitions) question(ctx context.Context, p *partition, see func(stored)) *redisop.Operation {
	c := ps.c
	known := ""
	before := p.snap.Load()
	again := p.whole.Swap(false) || see != nil
	if before != nil && before.version > 0 && !again {
		known = formatInt(before.version)
	}
	life := int64(0)
	if p.user {
		life = c.o.UserTTL.Milliseconds()
	}
	keys := []string{c.keys.Tokens(p.pid), c.keys.Tombstone(p.pid)}
	return c.redis.Prepare(ctx, layout.LoadScript, keys, func(r redisop.Reply) error {
		if len(r.Fields)%2 == 0 {
			return redisop.ErrReply
		}
		generation, fields := generationOf(r.Fields[0]), r.Fields[1:]
		version := int64(0)
		if len(fields) > 0 {
			version = 1
		}
		for i := 0; i < len(fields); i += 2 {
			if fields[i] == layout.VersionField {
				version = max(version, whole(fields[i+1]))
			} else if see != nil {
				if e, err := c.openEntry(p, fields[i], fields[i+1]); err == nil {
					see(e)
				}
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		current := p.snap.Load()
		if asked := p.signedOut.asked; asked > 0 && p.signedOut.done == 0 {
			// A sign-out waits for Redis, and what there is is of before it.
			s := &snapshot{generation: max(asked, generation), entries: map[string]stored{}}
			p.overlay(s)
			p.snap.Store(s)
			return nil
		}
		if current != nil && !again && (version > 0 || len(current.entries) == 0) && version == current.version && generation <= current.generation {
			p.asOf = max(r.Time.Micros(), p.asOf)
			p.seen(c)
			return nil
		}
		if known != "" && formatInt(version) == known {
			if generation <= before.generation {
				return nil // it moved on while we asked: what we know now is newer than this answer
			}
			// A sign-out that left the version: take the record whole at the next look.
			p.checked.Store(0)
			return nil
		}
		if p.overtaken(generation, r.Time.Micros()) {
			return nil
		}
		if generation > 0 && (current == nil || current.generation < generation) {
			c.removals.saw(p.pid, c.clock.Elapsed())
		}
		s := &snapshot{version: version, generation: generation, entries: map[string]stored{}}
		unreadable := map[string]damage{}
		for i := 0; i < len(fields); i += 2 {
			field, value := fields[i], fields[i+1]
			if field == layout.VersionField {
				continue
			}
			if e, err := c.openEntry(p, field, value); err == nil {
				s.entries[field] = current.later(e)
			} else {
				unreadable[field] = damage{value, err}
			}
		}
		c.restore(p, s, unreadable, r.Time.Micros(), again)
		p.leaveOut(s)
		p.overlay(s)
		p.snap.Store(s)
		p.asOf = r.Time.Micros()
		p.seen(c)
		ps.weigh(p)
		return nil
	}, known, formatInt(life))
}

// seen notes that Redis has just confirmed the snapshot. The caller holds mu.
func (p *partition) seen(c *Cache) {
	now := c.clock.Elapsed()
	p.confirmed = now
	p.checked.Store(now)
}

// adopt takes in a later refresh_on of tokens that the record holds. It stays in this process.
func (p *partition) adopt(same []stored) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.snap.Load()
	if old == nil {
		return
	}
	s := *old
	s.entries = maps.Clone(old.entries)
	changed := false
	for _, e := range same {
		held, ok := s.entries[e.field]
		if !ok || held.Secret != e.Secret || held.RefreshOn >= e.RefreshOn {
			continue
		}
		e.stamp, e.expiry, e.session, e.due = held.stamp, held.expiry, held.session, held.due
		s.entries[e.field], changed = e, true
	}
	if changed {
		p.snap.Store(&s)
	}
}

// weigh tells the bounded cache that a holder's size has changed, if it is there still.
func (ps *partitions) weigh(p *partition) {
	ps.known.ComputeIfPresent(p.pid, func(held *partition) (*partition, otter.ComputeOp) {
		if held != p {
			return nil, otter.CancelOp
		}
		return p, otter.WriteOp
	})
}

// overlay puts entries that Redis has not taken yet above those it has. The caller holds mu.
func (p *partition) overlay(s *snapshot) {
	for field, e := range p.unsaved {
		if !e.fresh && p.knew(e.known) < s.generation && e.session < s.generation {
			continue // a sign-out came after it was asked for
		}
		if held, ok := s.entries[field]; !ok || held.stamp < e.stamp {
			s.entries[field] = e.stored
		}
	}
}

// generationOf is the generation in a tombstone, which also names the operation that left it; 0: there is none.
func generationOf(tombstone string) int64 {
	generation, _, _ := strings.Cut(tombstone, " ")
	return max(whole(generation), 0)
}

// openEntry opens a field of a partition. What does not open is a miss: counted, logged, and left where it is.
func (c *Cache) openEntry(p *partition, field, value string) (stored, error) {
	e, stamp, expiry, err := layout.OpenEntry(c.serializer, c.keys.Tokens(p.pid), field, value)
	if err != nil {
		c.metrics.Unreadable(whyUnreadable(err))
		c.log.Warn("a stored entry cannot be read and counts as missing", "record", string(p.pid), "error", err)
		return stored{}, err
	}
	return stored{Entry: e, field: field, stamp: stamp, expiry: expiry, session: layout.Session(value), due: e.RefreshOn}, nil
}

// batch is a write to one partition.
type batch struct {
	p       *partition
	entries []stored
	known   int64 // the generation known when the tokens were asked for
	fresh   bool  // the tokens of a sign-in
	again   bool  // it has waited: the log knows
	began   int64 // the latest session that its tokens are known to belong to; 0: none
	signIn  int64 // when the sign-in of its tokens was asked for, since the Cache's start; 0: it is not known
	ended   bool  // some of its tokens are left out: their account has signed out since they were asked for
}

// session is the earliest that entries of the batch belong to; 0: that of one is not known.
func (b batch) session() int64 {
	earliest := int64(layout.MaxStamp)
	for _, e := range b.entries {
		earliest = min(earliest, e.session)
	}
	return earliest
}

// write stores a batch and takes it into the local knowledge at once. An error, of Redis or of sealing, leaves it to be pushed
// later, and is returned. refused: a sign-out came between, and nothing was stored.
//
// It goes on when ctx ends, and then returns ctx's error.
func (c *Cache) write(ctx context.Context, b batch) (bool, error) {
	p := b.p
	p.mu.Lock()
	old := p.snap.Load()
	if old == nil {
		old = &snapshot{}
	}
	s := &snapshot{version: old.version, generation: old.generation, entries: maps.Clone(old.entries)}
	if s.entries == nil {
		s.entries = map[string]stored{}
	}
	b.known = p.knew(b.known)
	if !b.fresh && b.known < old.generation && b.session() < old.generation {
		// Redis would refuse it too, unless it has lost the tombstone.
		p.settle(b)
		p.mu.Unlock()
		c.metrics.Wrote(telemetry.RefusedAfterSignOut)
		return true, nil
	}
	b.entries = resealed(b.entries, old)
	for _, e := range b.entries {
		if held, ok := s.entries[e.field]; !ok || held.stamp < e.stamp {
			s.entries[e.field] = e
		}
	}
	p.snap.Store(s)
	p.writing++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.writing--
	}()
	c.partitions.weigh(p)

	args := []any{formatInt(b.known), "0", "0"}
	switch {
	case b.fresh:
		args[1] = "1"
	case b.session() > 0:
		args[1] = "s"
	}
	if p.user {
		args[2] = formatInt(c.o.UserTTL.Milliseconds())
	}
	key := c.keys.Tokens(p.pid)
	for _, e := range b.entries {
		value, err := c.sealedOf(key, e.field, e.stamp, e.expiry, e.session, layout.AppendEntry(nil, e.Entry), b.again)
		if err != nil {
			c.pending.keepEntries(b) // a key service may be away, and be back
			return false, err
		}
		args = append(args, e.field, value)
	}
	if c.pending.waits(signOutOf(p.pid)) {
		// It concerns what was there before these tokens, so it goes first: the pusher keeps that order.
		c.pending.keepEntries(b)
		return false, errBehind
	}
	// An operation whose caller left, or whose time ran out, may still be carried out: the outcome is taken in
	// by whoever sees it, and the stamps make doing it twice harmless.
	var refused atomic.Bool
	err := c.redis.Run(ctx, layout.StoreScript, []string{key, c.keys.Tombstone(p.pid)}, func(r redisop.Reply) error {
		if len(r.Fields) != 4 {
			return redisop.ErrReply
		}
		refused.Store(r.Number(1) == -1)
		p.took(c, b, s, r)
		return nil
	}, args...)
	if err != nil {
		if !b.again {
			c.metrics.Wrote(telemetry.Kept)
		}
		c.pending.keepEntries(b)
		if ctx.Err() == nil && !b.again {
			c.log.Warn("tokens could not be stored; they are kept and stored when Redis takes them", "record", string(p.pid), "error", err)
		}
	}
	if err == nil && refused.Load() && b.signIn > 0 {
		// The refusal may be the first that this process hears of the account's node, whose clock was ahead.
		if at := c.clock.Latest(b.signIn).Micros(); at > b.known && at >= p.snap.Load().generation {
			b.known, b.signIn = at, 0
			return c.write(ctx, b)
		}
	}
	if err == nil && !refused.Load() {
		c.metrics.Wrote(telemetry.Stored)
		c.prolongAccount(b)
	}
	return refused.Load(), err
}

// errBehind says that a write waits for a sign-out to be done.
var errBehind = errors.New("msalredis: a sign-out of this account waits for Redis, and the tokens wait behind it")

// resealed adds the account itself to the write of a new refresh token. It never changes, and so would stay sealed
// with the key of the sign-in until that key is dropped, and the sign-in with it.
func resealed(entries []stored, s *snapshot) []stored {
	i := slices.IndexFunc(entries, func(e stored) bool { return e.Section == msaldoc.SectionRefreshToken })
	if i < 0 {
		return entries
	}
	out := slices.Clone(entries)
	for field, e := range s.entries {
		if e.Section == msaldoc.SectionAccount && !slices.ContainsFunc(entries, func(x stored) bool { return x.field == field }) {
			// Its own stamp may be the later one, where Redis's clock has been measured better since. It takes the place of what
			// is there all the same; and a sign-out that waits before this write leaves nothing else of the account.
			e.stamp = max(e.stamp+1, entries[i].stamp)
			e.session = entries[i].session
			out = append(out, e)
		}
	}
	return out
}

// took brings the local knowledge up to what the store script answered.
func (p *partition) took(c *Cache, b batch, assumed *snapshot, r redisop.Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(b)
	generation, version, before, applied := generationOf(r.Fields[0]), r.Number(1), r.Number(2), r.Number(3) == 1
	if version == -1 {
		c.metrics.Wrote(telemetry.RefusedAfterSignOut)
		c.removals.saw(p.pid, c.clock.Elapsed())
		p.snap.Store(&snapshot{generation: generation})
		p.asOf = r.Time.Micros()
		p.checked.Store(0)
		return
	}
	p.confirmed = c.clock.Elapsed()
	current := p.snap.Load()
	if current != assumed || before != assumed.version || !applied {
		// Somebody else wrote too: what we hold is not the record at the new version.
		p.checked.Store(0)
		return
	}
	p.snap.Store(&snapshot{version: version, generation: max(generation, current.generation), entries: current.entries})
	p.asOf = max(r.Time.Micros(), p.asOf)
	p.seen(c)
}

// settle takes back what waited of a batch. The caller holds mu.
func (p *partition) settle(b batch) {
	for _, e := range b.entries {
		if u, ok := p.unsaved[e.field]; ok && u.stamp <= e.stamp {
			delete(p.unsaved, e.field)
		}
	}
}

func (ps *partitions) close() {
	ps.known.InvalidateAll()
	ps.known.StopAllGoroutines()
}

// whole is text as a number; -1 where it is not one.
func whole(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// atOnce has a bounded cache (otter) do its upkeep in the goroutine that wrote: a microsecond, where a goroutine of its own
// would wake a thread at each write, which takes the processor that Redis was about to answer on.
func atOnce(upkeep func()) { upkeep() }
