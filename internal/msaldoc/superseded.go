package msaldoc

import (
	"cmp"
	"slices"
	"strings"
)

// MSAL's look-up takes the first match of a map scan (Manager.readAccessToken): of two access tokens that both serve a
// request it may take the one that lives shorter, every time. So of those only the one that lives longest is handed to
// it.

// class is what two access tokens have in common between which MSAL would choose by their scopes alone.
type class struct {
	account, client, realm, environment, tokenType, keyID, extKey string
}

func classOf(e Entry) class {
	return class{e.HomeAccountID, e.ClientID, e.Realm, strings.ToLower(e.Environment), foldTokenType(e.TokenType),
		e.KeyID, e.ExtCacheKey}
}

// foldTokenType is ToLower without its allocation for the type that nearly all tokens have.
func foldTokenType(s string) string {
	if s == "Bearer" {
		return "bearer"
	}
	return strings.ToLower(s)
}

// candidate is an access token with what decides between it and others of its class.
type candidate struct {
	at      int
	key     string
	expires int64
	scopes  Scopes
}

// supersedes tells whether MSAL should never find old because better serves all its requests for longer. It is
// transitive: what something superseded would supersede is superseded by what supersedes that.
func (better candidate) supersedes(old candidate) bool {
	if better.at == old.at || !better.scopes.ContainsAll(old.scopes) {
		return false
	}
	if better.expires != old.expires {
		return better.expires > old.expires
	}
	if len(better.scopes) != len(old.scopes) {
		return true
	}
	return better.key < old.key
}

// bestFirst orders candidates so that none is superseded by a later one.
func bestFirst(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.expires, a.expires), cmp.Compare(len(b.scopes), len(a.scopes)), cmp.Compare(a.key, b.key))
}

// Superseded are the positions of the access tokens that others supersede: those of the same class, that serve all
// their requests, for longer.
func Superseded(entries []Entry) map[int]bool {
	return superseded(entries, func(class) bool { return true })
}

// WithoutSuperseded are the entries of which MSAL should find any.
func WithoutSuperseded(entries []Entry) []Entry {
	gone := Superseded(entries)
	if len(gone) == 0 {
		return entries
	}
	out := make([]Entry, 0, len(entries)-len(gone))
	for i, e := range entries {
		if !gone[i] {
			out = append(out, e)
		}
	}
	return out
}

// HasSuperseded tells whether what has changed in a document supersedes something there, or is superseded.
func HasSuperseded(changed, entries []Entry) bool {
	classes := map[class]bool{}
	for _, e := range changed {
		if e.Section == SectionAccessToken {
			classes[classOf(e)] = true
		}
	}
	return len(classes) > 0 && len(superseded(entries, func(c class) bool { return classes[c] })) > 0
}

// superseded are the positions of the entries that others supersede, among those of the classes that are wanted.
func superseded(entries []Entry, wanted func(class) bool) map[int]bool {
	var gone map[int]bool
	for _, members := range rivals(entries, wanted) {
		for i := range members {
			members[i].scopes = ScopesOf(entries[members[i].at].Target)
		}
		slices.SortFunc(members, bestFirst)
		var best index
		for _, c := range members {
			if best.supersedes(c) {
				if gone == nil {
					gone = map[int]bool{}
				}
				gone[c.at] = true
			} else {
				best.add(c)
			}
		}
	}
	return gone
}

// rivals are the access tokens of each class that has more than one, their scopes still to be read: most documents have
// none.
func rivals(entries []Entry, wanted func(class) bool) [][]candidate {
	first := map[class]int{}
	at := map[class]int{}
	var all [][]candidate
	for i, e := range entries {
		if e.Section != SectionAccessToken {
			continue
		}
		c := classOf(e)
		if !wanted(c) {
			continue
		}
		alone, met := first[c]
		if !met {
			first[c] = i
			continue
		}
		n, ok := at[c]
		if !ok {
			n = len(all)
			at[c] = n
			all = append(all, []candidate{{at: alone, key: entries[alone].Key, expires: entries[alone].ExpiresOn}})
		}
		all[n] = append(all[n], candidate{at: i, key: e.Key, expires: e.ExpiresOn})
	}
	return all
}

// index finds among the best candidates of a class those that have a scope.
type index struct {
	all     []candidate
	byScope map[string][]int // positions in all
}

func (x *index) add(c candidate) {
	if x.byScope == nil {
		x.byScope = map[string][]int{}
	}
	for _, s := range c.scopes {
		x.byScope[s] = append(x.byScope[s], len(x.all))
	}
	x.all = append(x.all, c)
}

// supersedes tells whether one of those in the index supersedes a candidate, none of which comes after it in order.
// Only those can that have its rarest scope: mostly none or one.
func (x *index) supersedes(old candidate) bool {
	if len(x.all) == 0 {
		return false
	}
	if len(old.scopes) == 0 {
		return x.all[0].supersedes(old) // the first contains as much as any and lives as long
	}
	rarest := x.byScope[old.scopes[0]]
	for _, s := range old.scopes[1:] {
		if some := x.byScope[s]; len(some) < len(rarest) {
			rarest = some
		}
	}
	return slices.ContainsFunc(rarest, func(i int) bool { return x.all[i].supersedes(old) })
}
