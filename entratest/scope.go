package entratest

import (
	"slices"
	"strings"
)

// graph is the resource of scopes that name none.
const graph = "https://graph.microsoft.com"

// scopeSet is a parsed scope parameter: OpenID Connect's scopes, and permissions of one resource
// (https://learn.microsoft.com/entra/identity-platform/scopes-oidc).
type scopeSet struct {
	raw      string
	openid   bool
	offline  bool
	dflt     bool // .default is asked for
	resource string
	names    []string // as asked, without OpenID Connect's
}

// splitScope cuts a scope into resource and permission. "https://host//.default" asks for a resource with a
// trailing slash, so only the last slash goes.
func splitScope(scope string) (resource, name string, ok bool) {
	i := strings.LastIndexByte(scope, '/')
	if i <= 0 || strings.HasSuffix(scope[:i], ":/") {
		return "", "", false
	}
	return scope[:i], scope[i+1:], true
}

func parseScopes(raw string) (scopeSet, *oauthError) {
	set := scopeSet{raw: raw}
	other := false
	for _, scope := range strings.Fields(raw) {
		switch strings.ToLower(scope) {
		case "openid":
			set.openid = true
			continue
		case "offline_access":
			set.offline = true
			continue
		case "profile", "email":
			continue
		}
		resource, name, ok := splitScope(scope)
		if !ok {
			if strings.Contains(scope, ":") {
				return set, badScope(raw)
			}
			resource, name = graph, scope
		}
		if name == "" {
			return set, badScope(raw)
		}
		if set.resource != "" && !strings.EqualFold(set.resource, resource) {
			return set, errorf(invalidRequest, 28000,
				"Provided value for the input parameter scope is not valid because it contains more than one resource. Scope %s "+
					"is not valid.", raw)
		}
		set.resource = resource
		set.names = append(set.names, scope)
		if name == ".default" {
			set.dflt = true
		} else {
			other = true
		}
	}
	if set.dflt && other {
		return set, badScope(raw)
	}
	if set.resource == "" {
		set.resource = graph
	}
	return set, nil
}

func badScope(raw string) *oauthError {
	return errorf(invalidScope, 70011, "The provided request must include a 'scope' input parameter. The provided value "+
		"for the input parameter 'scope' is not valid. The scope %s is not valid.", raw)
}

// parseAppScopes is parseScopes for client_credentials: one resource's .default and nothing else. OpenID Connect's
// scopes, which MSAL Go always adds (accesstokens.go, AppendDefaultScopes), are passed over as Entra ID does.
func parseAppScopes(raw string) (scopeSet, *oauthError) {
	set, err := parseScopes(raw)
	if err != nil {
		if err.number == 28000 {
			err = badScope(raw)
		}
		return set, err
	}
	if len(set.names) != 1 || !strings.HasSuffix(strings.ToLower(set.names[0]), "/.default") {
		return set, errorf(invalidScope, 1002012, "The provided value for scope %s is not valid. Client credential flows "+
			"must have a scope value with /.default suffixed to the resource identifier (application ID URI).", raw)
	}
	return set, nil
}

// permissions is granted as scp in the token: short names.
func permissions(granted string) string {
	var out []string
	for _, scope := range strings.Fields(granted) {
		if name := permission(scope); name != ".default" {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

// audience is the aud of tokens for a resource: of an app's API its client ID, as in all v2.0 tokens, else the
// resource.
func (s *Server) audience(resource string) string {
	if id, ok := strings.CutPrefix(resource, "api://"); ok {
		if app, ok := s.lookupApp(id); ok {
			return app.ClientID
		}
	}
	return resource
}

// consented refuses what App.Unconsented lists.
func (a *App) consented(set scopeSet) *oauthError {
	for _, u := range a.Unconsented {
		if strings.EqualFold(u, set.resource) ||
			slices.ContainsFunc(set.names, func(n string) bool { return strings.EqualFold(n, u) }) {
			err := errorf(invalidGrant, 65001, "The user or administrator has not consented to use the application with ID "+
				"'%s'. Send an interactive authorization request for this user and resource.", a.ClientID)
			err.suberror = "consent_required"
			return err
		}
	}
	return nil
}

// normalizeScope makes scope parameters comparable: lower-case, sorted, each once, without OpenID Connect's.
func normalizeScope(raw string) string {
	names := strings.Fields(strings.ToLower(raw))
	names = slices.DeleteFunc(names, func(n string) bool {
		return n == "openid" || n == "profile" || n == "offline_access"
	})
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}
