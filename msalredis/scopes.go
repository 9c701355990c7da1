package msalredis

import (
	"slices"
	"strings"
)

// scopes is a set of scopes as Entra ID compares them: without case, order or repetition.
type scopes []string

// oidcScopes are those MSAL adds to every request (accesstokens.AppendDefaultScopes). They ask for kinds of tokens, not
// for a resource.
var oidcScopes = map[string]bool{"openid": true, "offline_access": true, "profile": true}

func scopesOf(text string) scopes { return newScopes(strings.Fields(text)) }

func newScopes(list []string) scopes {
	set := make(scopes, 0, len(list))
	for _, s := range list {
		set = append(set, strings.ToLower(s))
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// resource are the scopes without those that MSAL adds.
func (s scopes) resource() scopes {
	return slices.DeleteFunc(slices.Clone(s), func(x string) bool { return oidcScopes[x] })
}

func (s scopes) containsAll(other scopes) bool {
	for _, x := range other {
		if _, ok := slices.BinarySearch(s, x); !ok {
			return false
		}
	}
	return true
}

func (s scopes) String() string { return strings.Join(s, " ") }
