package msaldoc

import "time"

// LastMinutes is the end of a token's life in which MSAL refuses it (AccessToken.Validate).
const LastMinutes = 5 * time.Minute

// Spent tells whether the entry is an access token that MSAL refuses for its age.
func (e Entry) Spent(now time.Time) bool {
	return e.Section == SectionAccessToken && e.ExpiresOn <= now.Add(LastMinutes).Unix()
}

// UntilSpent is how long it is until the first of the entries is spent; a year where none will be.
func UntilSpent(entries []Entry, now time.Time) time.Duration {
	first := 365 * 24 * time.Hour
	for _, e := range entries {
		if e.Section == SectionAccessToken {
			first = min(first, time.Unix(e.ExpiresOn, 0).Add(-LastMinutes).Sub(now))
		}
	}
	return first
}

// Readable are those entries that MSAL may read now, in the form in which it can.
//
// Tokens that MSAL would refuse stay behind: its look-up takes the first match of a map scan even if it has
// expired, so that one spent token beside a good one sends most calls to Entra ID. For the same reason of two
// tokens that serve the same request only the one that lives longer is left.
func Readable(entries []Entry, now time.Time) []Entry {
	out := make([]Entry, 0, len(entries))
	for _, e := range entries {
		if e.Spent(now) {
			continue
		}
		// A clock that is ahead of ours by less than we translate: MSAL refuses tokens "cached in the future".
		if e.Section == SectionAccessToken && e.CachedAt > now.Unix() {
			e = e.withCachedAt(now.Unix())
		}
		out = append(out, e)
	}
	return WithoutSuperseded(WithKeysFolded(out))
}

// withCachedAt is the entry with another cached_at.
func (e Entry) withCachedAt(seconds int64) Entry {
	return e.withTimes(func(name string, old int64) int64 {
		if name == "cached_at" {
			return seconds
		}
		return old
	})
}
