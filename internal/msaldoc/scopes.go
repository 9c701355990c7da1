package msaldoc

import (
	"slices"
	"strings"
)

// Scopes is a set of scopes as MSAL and Entra ID compare them: without case, order or repetition.
type Scopes []string

// oidcScopes are those MSAL adds to every request (accesstokens.AppendDefaultScopes). They ask for kinds of tokens, not
// for a resource.
var oidcScopes = map[string]bool{"openid": true, "offline_access": true, "profile": true}

// ScopesOf are the scopes in a text.
func ScopesOf(text string) Scopes { return NewScopes(strings.Fields(text)) }

// NewScopes are scopes as a set.
func NewScopes(list []string) Scopes {
	set := make(Scopes, 0, len(list))
	for _, s := range list {
		set = append(set, strings.ToLower(s))
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// Resource are the scopes without those that MSAL adds.
func (s Scopes) Resource() Scopes {
	return slices.DeleteFunc(slices.Clone(s), func(x string) bool { return oidcScopes[x] })
}

// ContainsAll tells whether all of other are among them.
func (s Scopes) ContainsAll(other Scopes) bool {
	for _, x := range other {
		if _, ok := slices.BinarySearch(s, x); !ok {
			return false
		}
	}
	return true
}

func (s Scopes) String() string { return strings.Join(s, " ") }

// RequestedScopes are the scopes in a text as they were written, without those that MSAL adds.
func RequestedScopes(text string) []string {
	return slices.DeleteFunc(strings.Fields(text), func(s string) bool { return oidcScopes[strings.ToLower(s)] })
}
