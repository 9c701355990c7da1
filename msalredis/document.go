package msalredis

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/serializer"
)

// MSAL refuses a token that has less than this left (storage/items.go, AccessToken.Validate).
const lastMinutes = 5 * time.Minute

// A document handed to a manager holds every partition used on it within the last second, because MSAL releases
// its lock between Replace and its own read, and so another goroutine's Replace decides what this one reads. MSAL's
// look-up is a linear scan and its Unmarshal costs 1.8 ms at 50 tenants and 37 ms at 1,000, which is why there
// are bounds.
const (
	inUseFor      = time.Second
	inUseAtMost   = 1024
	keptAtMost    = 64
	keptBytesMost = 256 << 10
)

// handOver gives MSAL's manager a document with the partition of key and the others in use. The caller holds m.mu.
func (c *Cache) handOver(u interface{ Unmarshal([]byte) error }, m *manager, key string) {
	m.view.Store(nil)
	now, elapsed := c.clock.now(), c.clock.elapsed()
	if x := m.inUse[key]; x != nil {
		x.last.Store(elapsed) // it may have waited for its turn
	}
	ours := make([]*use, 0, len(m.inUse))
	for _, x := range m.inUse {
		ours = append(ours, x)
	}
	slices.SortFunc(ours, func(a, b *use) int { return cmp.Compare(b.last.Load(), a.last.Load()) })
	v := &view{rest: map[string]handed{}}
	var entries, withheld []serializer.Entry
	size := 0
	shift := c.clock.shift()
	for i, x := range ours {
		recent := elapsed-x.last.Load() < int64(inUseFor)
		if i > 0 && (recent && i >= inUseAtMost || !recent && (i >= keptAtMost || size >= keptBytesMost)) {
			delete(m.inUse, x.key)
			continue
		}
		h := handed{x, x.p.snap.Load()}
		switch {
		case h.snap == nil || len(h.snap.entries) == 0:
			// Nothing: the next call asks whether that is still so.
		case v.first.use == nil:
			v.first = h
		default:
			v.rest[x.key] = h
		}
		given, kept := readable(h.snap, now, shift, c.mayHave(m, h.snap))
		for _, e := range given {
			entries = append(entries, e)
			size += len(e.Raw)
		}
		withheld = append(withheld, kept...)
	}
	entries = withAppMetadata(entries, withheld)
	v.spentAt = elapsed + int64(untilSpent(entries, now))
	for _, e := range entries {
		if e.Section == serializer.SectionRefreshToken {
			c.lineages.learn(e)
		}
	}
	if changed, removed := serializer.Diff(m.document, entries); len(changed) == 0 && len(removed) == 0 {
		m.view.Store(v)
		return
	}
	document := []byte("{}")
	if len(entries) > 0 {
		document = serializer.Assemble(entries)
	}
	if err := u.Unmarshal(document); err != nil {
		// A failed Unmarshal leaves the old contents, which may be another partition's.
		c.metrics.unreadable(err)
		c.log.warn("MSAL refused a cache document; its tokens count as missing", "error", "document refused")
		m.document, m.marshalled = nil, nil
		_ = u.Unmarshal([]byte("{}"))
		return
	}
	m.document, m.marshalled = entries, nil
	m.view.Store(v)
}

// readable are the entries of a partition that MSAL may read now, with their times in our clock.
//
// Tokens that MSAL would refuse stay behind: its look-up takes the first match of a map scan even if it has
// expired, so that one spent token beside a good one sends most calls to Entra ID. For the same reason of two
// tokens that serve the same request only the one that lives longer is handed over. withheld are those that the manager may
// not have.
func readable(s *snapshot, now time.Time, shift int64, mayHave func(stored) bool) (out, withheld []serializer.Entry) {
	if s == nil {
		return nil, nil
	}
	spent := now.Add(lastMinutes).Unix()
	for _, e := range s.live(now.UnixMicro() + shift*int64(time.Second/time.Microsecond)) {
		x := e.Entry
		if shift != 0 {
			x = x.WithTimes(-shift)
		}
		if x.Section == serializer.SectionAccessToken {
			if x.ExpiresOn <= spent {
				continue
			}
			if !mayHave(e) {
				withheld = append(withheld, x)
				continue
			}
			// A clock that is ahead of ours by less than we translate: MSAL refuses tokens "cached in the future".
			if ahead := x.CachedAt - now.Unix(); ahead > 0 {
				x = cachedAt(x, now.Unix())
			}
		}
		out = append(out, x)
	}
	return slices.DeleteFunc(out, func(e serializer.Entry) bool {
		return slices.ContainsFunc(out, func(other serializer.Entry) bool { return supersedes(other, e) })
	}), withheld
}

// cachedAt is the entry with another cached_at.
func cachedAt(e serializer.Entry, seconds int64) serializer.Entry {
	x, err := serializer.NewEntry(e.Section, e.Key, splice(e.Raw, gjson.GetBytes(e.Raw, "cached_at"), formatInt(seconds)))
	if err != nil {
		return e
	}
	return x
}

// supersedes tells whether MSAL should never find old because better serves all its requests for longer. All
// environments count as aliases of one another: a partition is of one account or one app, and no account lives in
// two clouds.
func supersedes(better, old serializer.Entry) bool {
	if old.Section != serializer.SectionAccessToken || better.Section != old.Section || better.Key == old.Key ||
		better.HomeAccountID != old.HomeAccountID || better.ClientID != old.ClientID || better.Realm != old.Realm ||
		!strings.EqualFold(better.TokenType, old.TokenType) || better.KeyID != old.KeyID || better.ExtCacheKey != old.ExtCacheKey {
		return false
	}
	if !scopesOf(better.Target).containsAll(scopesOf(old.Target)) {
		return false
	}
	if better.ExpiresOn != old.ExpiresOn {
		return better.ExpiresOn > old.ExpiresOn
	}
	if !scopesOf(old.Target).containsAll(scopesOf(better.Target)) {
		return true
	}
	return better.Key < old.Key
}

// withAppMetadata adds the metadata that MSAL wants to find before it looks for a refresh token. It says no
// more than that the client exists, so it is made here rather than stored with every user. It tells too that there is more than
// the entries.
func withAppMetadata(entries, more []serializer.Entry) []serializer.Entry {
	type app struct{ client, environment string }
	have := map[app]bool{}
	for _, e := range entries {
		if e.Section == serializer.SectionAppMetadata {
			have[app{e.ClientID, e.Environment}] = true
		}
	}
	for _, e := range slices.Concat(entries, more) {
		a := app{e.ClientID, e.Environment}
		if e.ClientID == "" || e.Section == serializer.SectionAppMetadata || have[a] {
			continue
		}
		have[a] = true
		if x, err := appMetadata(a.client, a.environment); err == nil {
			entries = append(entries, x)
		}
	}
	return entries
}

func appMetadata(client, environment string) (serializer.Entry, error) {
	raw := []byte(`{"client_id":` + quoted(client) + `,"environment":` + quoted(environment) + `}`)
	key := strings.ToLower("AppMetaData-" + environment + "-" + client)
	return serializer.NewEntry(serializer.SectionAppMetadata, key, raw)
}

// untilSpent is how long it is until the first token of a document enters its last five minutes.
func untilSpent(entries []serializer.Entry, now time.Time) time.Duration {
	first := 365 * 24 * time.Hour
	for _, e := range entries {
		if e.Section == serializer.SectionAccessToken {
			first = min(first, time.Unix(e.ExpiresOn, 0).Add(-lastMinutes).Sub(now))
		}
	}
	return first
}
