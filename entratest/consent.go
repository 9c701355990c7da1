package entratest

import (
	"cmp"
	"slices"
	"strings"
)

// oidcScopes belong to Graph and are returned with it only, in this order and before the rest; offline_access never is.
var oidcScopes = []string{"email", "openid", "profile"}

// consent is what a user lets an app do at a resource in a tenant. Its texts are lower-case.
type consent struct{ client, user, tenant, resource string }

// consentTo adds what a request asks for to what its user consented to before, and returns all of it, in order. The
// names are short and each is there once. .default asks for nothing new: it stands for what there is, or for one
// permission of a user who has consented to none.
func (s *Server) consentTo(q *tokenRequest, tid string, u User, set scopeSet) []string {
	key := consent{strings.ToLower(q.app.ClientID), u.HomeAccountID(), tid, resourceKey(set.resource)}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Concat(s.consents[key], q.app.consentedAt(set.resource))
	for _, scope := range set.names {
		if name := permission(scope); name != ".default" && !declines(q.behavior.DeclinedScopes, set.resource, scope) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && set.dflt {
		names = append(names, set.standIn())
	}
	slices.SortStableFunc(names, compareFold)
	names = slices.CompactFunc(names, strings.EqualFold)
	s.consents[key] = names
	return slices.Clone(names)
}

// consentedAt are the names of App.Consented at a resource.
func (a *App) consentedAt(resource string) []string {
	var names []string
	for _, scope := range a.Consented {
		at, name, ok := splitScope(scope)
		if !ok {
			at, name = graph, scope
		}
		if resourceKey(at) == resourceKey(resource) {
			names = append(names, name)
		}
	}
	return names
}

// standIn is what .default brings where nothing is known of the resource.
func (set scopeSet) standIn() string {
	if strings.EqualFold(set.resource, graph) {
		return "User.Read"
	}
	return "user_impersonation"
}

// granted is the scope of the answer: OpenID Connect's, all that was consented, .default where it was asked for. What
// was asked comes back in the words it was asked, since MSAL takes what is missing for declined (tokens.go,
// findDeclinedScopes); the rest as full URIs, or as bare names where the request names no resource.
func (set scopeSet) granted(consented, declined []string) string {
	var out []string
	if strings.EqualFold(set.resource, graph) {
		out = append(out, oidcScopes...)
	}
	prefix, last := set.prefix(), ""
	asked := map[string]string{}
	for _, scope := range set.names {
		if name := permission(scope); name == ".default" {
			last = scope
		} else {
			asked[strings.ToLower(name)] = scope
		}
	}
	for _, name := range consented {
		out = append(out, cmp.Or(asked[strings.ToLower(name)], prefix+name))
	}
	if last != "" {
		out = append(out, last)
	}
	out = slices.DeleteFunc(out, func(scope string) bool { return declines(declined, set.resource, scope) })
	return strings.Join(out, " ")
}

// prefix stands before the names that the request does not say itself.
func (set scopeSet) prefix() string {
	for _, scope := range set.names {
		if resource, _, ok := splitScope(scope); ok {
			return resource + "/"
		}
	}
	return ""
}

// declines reports whether a scope of a resource is in Behavior.DeclinedScopes, by its full URI or as it is written.
func declines(declined []string, resource, scope string) bool {
	return slices.ContainsFunc(declined, func(d string) bool {
		return strings.EqualFold(d, scope) || strings.EqualFold(d, resource+"/"+scope)
	})
}

// permission is a scope without its resource.
func permission(scope string) string {
	if _, name, ok := splitScope(scope); ok {
		return name
	}
	return scope
}

// resourceKey makes names of one resource equal.
func resourceKey(resource string) string { return strings.ToLower(strings.TrimRight(resource, "/")) }

func compareFold(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }
