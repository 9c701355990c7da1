package accessor

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// What was handed to a manager stays in its document while it fits a bound, whatever its age: MSAL releases its lock between
// Replace and its own read, so another goroutine's Replace decides what this one reads; it does not tell when it has read, and
// time does not bound a goroutine that waits for a processor. Beyond the bound what was used last stays: of two goroutines between
// Replace and their read, inFlightAtMost others would have to be.
const (
	documentBytesMost = 16 << 20
	inFlightAtMost    = 1024
)

// handOver gives MSAL's manager a document with the partition of key and the others that it has been handed. The caller
// holds m.mu.
func (a *Accessor) handOver(u interface{ Unmarshal([]byte) error }, m *manager, key string) {
	m.view.Store(nil)
	now, elapsed := a.o.Clock.Wall(), a.elapsed()
	if x := m.inUse[key]; x != nil {
		x.last.Store(int64(elapsed)) // it may have waited for its turn
	}
	v := &view{rest: map[string]handed{}}
	var entries, withheld []msaldoc.Entry
	for _, x := range a.fitting(m, now) {
		h := handed{x, x.spelling, x.read.snap}
		switch {
		case h.snap == nil || h.snap.Empty() && (h.p.User || !m.unshared.of(x.key)):
			// Nothing: the next call asks whether that is still so.
		case v.first.use == nil:
			v.first = h
		default:
			v.rest[x.spelling] = h
		}
		m.app = m.app || msaldoc.IsAppKey(x.key) && len(x.read.entries) > 0
		entries = append(entries, x.read.entries...)
		withheld = append(withheld, x.read.withheld...)
	}
	m.unshared.lose(entries)
	if own := m.unshared.readable(a, now, m.app); len(own) > 0 {
		entries = msaldoc.WithoutSuperseded(append(entries, own...))
	}
	entries = msaldoc.WithAppMetadata(entries, withheld)
	v.spentAt = elapsed + msaldoc.UntilSpent(entries, now)
	for _, e := range entries {
		if e.Section == msaldoc.SectionRefreshToken {
			a.o.Lineages.Learn(e)
		}
	}
	changed, removed := msaldoc.Diff(m.document, entries)
	if len(changed) == 0 && len(removed) == 0 && !a.holdsRemoved(m, key) {
		m.view.Store(v)
		return
	}
	m.filled = elapsed
	document := []byte("{}")
	if len(entries) > 0 {
		document = msaldoc.Assemble(entries)
	}
	if err := u.Unmarshal(document); err != nil {
		// A failed Unmarshal leaves the old contents, which may be another partition's.
		a.o.Metrics.Unreadable(tokenstore.WhyUnreadable(err))
		a.o.Log.Warn("MSAL refused a cache document; its tokens count as missing", "error", "document refused")
		m.document, m.marshalled = nil, nil
		_ = u.Unmarshal([]byte("{}"))
		return
	}
	m.document, m.marshalled = entries, nil
	m.view.Store(v)
}

// fitting are the uses of a manager that its document has room for, the latest first, with what MSAL may read of them now. The
// others are dropped. The caller holds m.mu.
func (a *Accessor) fitting(m *manager, now time.Time) []*use {
	ours := slices.Collect(maps.Values(m.inUse))
	last := make(map[*use]int64, len(ours)) // hits move them on meanwhile
	for _, x := range ours {
		last[x] = x.last.Load()
	}
	slices.SortFunc(ours, func(a, b *use) int { return cmp.Compare(last[b], last[a]) })
	shift := a.o.Clock.Shift()
	size, fit := 0, ours[:0]
	for i, x := range ours {
		x.bringUp(a, m, now, shift)
		if i >= inFlightAtMost && (x.read.size == 0 || size+x.read.size > documentBytesMost) {
			delete(m.inUse, x.key)
			if x.read.size > 0 {
				m.crowded.Do(func() {
					a.o.Log.Warn("an MSAL client serves more users and tenants than its memory is given at once, and is slow: use clientpool")
				})
			}
			continue
		}
		size += x.read.size
		fit = append(fit, x)
	}
	return fit
}

// bringUp makes what MSAL may read of a partition anew where the snapshot, or what is left of a token's life, has changed.
func (x *use) bringUp(a *Accessor, m *manager, now time.Time, shift int64) {
	s := x.p.Known().Snapshot
	gated := a.o.Gated()
	if r := &x.read; r.snap == s && r.shift == shift && r.declared == m.declared && r.gated == gated && !now.Before(r.at) && now.Before(r.until) {
		return
	}
	entries, withheld := readable(s, now, shift, a.mayHave(m, s))
	size := 0
	for _, e := range entries {
		size += len(e.Key) + len(e.Raw)
	}
	x.read = reading{
		snap: s, shift: shift, declared: m.declared, gated: gated, at: now, until: now.Add(msaldoc.UntilSpent(entries, now)),
		entries: entries, withheld: withheld, size: size,
	}
}

// holdsRemoved tells whether MSAL's memory may hold of a partition what a removal has ended and no Export has told of. The caller
// holds m.mu.
func (a *Accessor) holdsRemoved(m *manager, key string) bool {
	pid := id("")
	if x := m.inUse[key]; x != nil {
		pid = x.p.ID
	}
	learnt := a.o.Store.LearntOfRemoval(pid)
	return learnt != 0 && m.filled < learnt+a.o.CallsAtMost // else requests that were under way then are over
}

// readable are the entries of a partition that MSAL may read now, with their times in our clock. withheld are those that the manager
// may not have.
func readable(s *record.Snapshot, now time.Time, shift int64, mayHave func(record.Entry) bool) (out, withheld []msaldoc.Entry) {
	if s == nil {
		return nil, nil
	}
	for _, e := range s.Live(redistime.Time(now.UnixMicro() + shift*time.Second.Microseconds())) {
		x := e.Entry
		if shift != 0 {
			x = x.WithTimes(-shift)
		}
		switch {
		case x.Spent(now):
		case x.Section == msaldoc.SectionAccessToken && !mayHave(e):
			withheld = append(withheld, x)
		default:
			out = append(out, x)
		}
	}
	return msaldoc.Readable(out, now), withheld
}
