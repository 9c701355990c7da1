package accessor

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// What was handed to a manager stays in its document while it fits a bound, whatever its age: MSAL releases its lock
// between Replace and its own read, so another goroutine's Replace decides what this one reads; it does not tell when
// it has read, and time does not bound a goroutine that waits for a processor. Beyond the bound what was used last
// stays: to lose what it is about to read, a goroutine would have to be overtaken by inFlightAtMost others.
const (
	documentBytesAtMost = 16 << 20
	inFlightAtMost      = 1024
)

// handOver gives MSAL's manager a document with the partition of key and the others that it has been handed. The caller
// holds m.mu.
func (a *Accessor) handOver(u cache.Unmarshaler, m *manager, key string) {
	m.view.Store(nil)
	now, elapsed := a.o.Clock.Wall(), a.elapsed()
	if p := m.inUse[key]; p != nil {
		p.lastUsed.Store(int64(elapsed)) // it may have waited for its turn
	}
	v := &view{rest: map[string]handedOver{}}
	var entries, withheld []msaldoc.Entry
	for _, p := range a.trimInUse(m, now) {
		h := handedOver{p, p.spelling, p.contents.snapshot}
		switch {
		case h.snapshot == nil || h.snapshot.Empty() && (p.record.User || !m.unshared.has(p.key)):
			// Nothing: the next call asks whether that is still so.
		case v.first.partition == nil:
			v.first = h
		default:
			v.rest[p.spelling] = h
		}
		m.servesApps = m.servesApps || msaldoc.IsAppKey(p.key) && len(p.contents.entries) > 0
		entries = append(entries, p.contents.entries...)
		withheld = append(withheld, p.contents.withheld...)
	}
	m.unshared.remove(entries)
	if own := m.unshared.readable(a, now, m.servesApps); len(own) > 0 {
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
	if len(changed) == 0 && len(removed) == 0 && !a.mayHoldRemoved(m, key) {
		m.view.Store(v)
		return
	}
	m.filledAt = elapsed
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

// trimInUse drops the partitions of a manager that its document has no room for, and returns the others, the latest
// first, with their contents up to date. The caller holds m.mu.
func (a *Accessor) trimInUse(m *manager, now time.Time) []*partition {
	inUse := slices.Collect(maps.Values(m.inUse))
	lastUsed := make(map[*partition]int64, len(inUse)) // hits move them on meanwhile
	for _, p := range inUse {
		lastUsed[p] = p.lastUsed.Load()
	}
	slices.SortFunc(inUse, func(a, b *partition) int { return cmp.Compare(lastUsed[b], lastUsed[a]) })
	shift := a.o.Clock.Shift()
	size, kept := 0, inUse[:0]
	for i, p := range inUse {
		p.updateContents(a, m, now, shift)
		if i >= inFlightAtMost && (p.contents.size == 0 || size+p.contents.size > documentBytesAtMost) {
			delete(m.inUse, p.key)
			if p.contents.size > 0 {
				m.crowdedTold.Do(func() {
					a.o.Log.Warn("an MSAL client serves more users and tenants than its memory is given at once, " +
						"and is slow: use clientpool")
				})
			}
			continue
		}
		size += p.contents.size
		kept = append(kept, p)
	}
	return kept
}

// mayHoldRemoved tells whether MSAL's memory may hold, of a partition, what a removal has ended and no Export has told
// of. The caller holds m.mu.
func (a *Accessor) mayHoldRemoved(m *manager, key string) bool {
	pid := id("")
	if p := m.inUse[key]; p != nil {
		pid = p.record.ID
	}
	learnt := a.o.Store.LearntOfRemoval(pid)
	return learnt != 0 && m.filledAt < learnt+a.o.CallsAtMost // else requests that were under way then are over
}
