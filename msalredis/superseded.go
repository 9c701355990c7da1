package msalredis

import (
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
)

// class is what two access tokens have in common between which MSAL would choose by their scopes alone.
type class struct {
	account, client, realm, environment, tokenType, keyID, extKey string
}

func classOf(e msaldoc.Entry) class {
	return class{e.HomeAccountID, e.ClientID, e.Realm, strings.ToLower(e.Environment), strings.ToLower(e.TokenType), e.KeyID, e.ExtCacheKey}
}

// candidate is an access token with what decides between it and others of its class.
type candidate struct {
	at      int
	key     string
	expires int64
	scopes  msaldoc.Scopes
}

// supersedes tells whether MSAL should never find old because better serves all its requests for longer.
func (better candidate) supersedes(old candidate) bool {
	if better.at == old.at || !better.scopes.ContainsAll(old.scopes) {
		return false
	}
	if better.expires != old.expires {
		return better.expires > old.expires
	}
	if !old.scopes.ContainsAll(better.scopes) {
		return true
	}
	return better.key < old.key
}

// superseded are the positions of the entries that others supersede, among those of the classes that are wanted.
func superseded(entries []msaldoc.Entry, wanted func(class) bool) map[int]bool {
	classes := map[class][]candidate{}
	for i, e := range entries {
		if e.Section == msaldoc.SectionAccessToken {
			if c := classOf(e); wanted(c) {
				classes[c] = append(classes[c], candidate{at: i, key: e.Key, expires: e.ExpiresOn})
			}
		}
	}
	out := map[int]bool{}
	for _, members := range classes {
		if len(members) < 2 {
			continue
		}
		for i := range members {
			members[i].scopes = msaldoc.ScopesOf(entries[members[i].at].Target)
		}
		for _, old := range members {
			for _, better := range members {
				if better.supersedes(old) {
					out[old.at] = true
					break
				}
			}
		}
	}
	return out
}

// withoutSuperseded are the entries of which MSAL should find any.
func withoutSuperseded(entries []msaldoc.Entry) []msaldoc.Entry {
	gone := superseded(entries, func(class) bool { return true })
	if len(gone) == 0 {
		return entries
	}
	out := make([]msaldoc.Entry, 0, len(entries)-len(gone))
	for i, e := range entries {
		if !gone[i] {
			out = append(out, e)
		}
	}
	return out
}

// supersedeOthers tells whether what has changed in a document supersedes something there, or is superseded.
func supersedeOthers(changed, entries []msaldoc.Entry) bool {
	classes := map[class]bool{}
	for _, e := range changed {
		if e.Section == msaldoc.SectionAccessToken {
			classes[classOf(e)] = true
		}
	}
	return len(classes) > 0 && len(superseded(entries, func(c class) bool { return classes[c] })) > 0
}
