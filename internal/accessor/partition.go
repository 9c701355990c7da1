package accessor

import (
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// partition is a partition in use on a manager, whose mutex guards what changes of it but lastUsed.
type partition struct {
	key      string // MSAL's, folded
	spelling string // as MSAL asked for it last: folding it at every hit would cost an allocation
	record   *tokenstore.Record
	lastUsed atomic.Int64 // since the process's start; accurate to noteUseEvery
	contents contents
}

// contents are what MSAL may read of a snapshot, from a moment on until the first of its tokens is spent.
type contents struct {
	snapshot    *record.Snapshot
	shift       int64
	declared    capabilities
	gated       bool
	from, until time.Time
	entries     []msaldoc.Entry
	withheld    []msaldoc.Entry // what the manager may not have
	size        int
}

// updateContents makes p's contents anew where the snapshot, or what is left of a token's life, has changed. The caller
// holds m.mu.
func (p *partition) updateContents(a *Accessor, m *manager, now time.Time, shift int64) {
	s := p.record.Known().Snapshot
	gated := a.o.Gated()
	if c := &p.contents; c.snapshot == s && c.shift == shift && c.declared == m.declared && c.gated == gated &&
		!now.Before(c.from) && now.Before(c.until) {
		return
	}
	entries, withheld := readable(s, now, shift, a.mayHave(m, s))
	size := 0
	for _, e := range entries {
		size += len(e.Key) + len(e.Raw)
	}
	p.contents = contents{
		snapshot: s, shift: shift, declared: m.declared, gated: gated,
		from: now, until: now.Add(msaldoc.UntilSpent(entries, now)),
		entries: entries, withheld: withheld, size: size,
	}
}

// readable are the entries of a snapshot that MSAL may read now, with their times in this process's clock. withheld are
// those that the manager may not have.
func readable(
	s *record.Snapshot, now time.Time, shift int64, mayHave func(record.Entry) bool,
) (out, withheld []msaldoc.Entry) {
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
