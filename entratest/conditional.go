package entratest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// policyOf is the conditional access policy of a resource, and policyClaims is how a challenge names it.
func policyOf(resource string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("policy "+resourceKey(resource))).String()
}

func policyClaims(resource string) string {
	return fmt.Sprintf(`{"access_token":{"capolids":{"essential":true,"values":["%s"]}}}`, policyOf(resource))
}

// demands reports whether conditional access guards the resource.
func (b Behavior) demands(resource string) bool {
	return slices.ContainsFunc(b.ConditionalAccess, func(r string) bool { return resourceKey(r) == resourceKey(resource) })
}

// stepUp refuses a request for a guarded resource whose session has not passed the policy. Entra ID says
// interaction_required to on-behalf-of and invalid_grant to the rest.
func (s *Server) stepUp(q *tokenRequest, resource, session string) *oauthError {
	if !q.behavior.demands(resource) {
		return nil
	}
	s.mu.Lock()
	passed := s.passed[session]
	s.mu.Unlock()
	if passed {
		return nil
	}
	code := invalidGrant
	if q.grant == jwtBearer {
		code = interactionRequired
	}
	oerr := errorf(code, 50076, "Due to a configuration change made by your administrator, or because you moved to a "+
		"new location, you must use multi-factor authentication to access '%s'.", resource)
	oerr.suberror, oerr.claims = "basic_action", policyClaims(resource)
	return oerr
}

// pass notes that a sign-in satisfied conditional access: it was for a guarded resource, or it carried the claims of a
// challenge. claims are those of the authorization request and of the token request.
func (s *Server) pass(q *tokenRequest, resource, session string, claims ...string) {
	demanded := q.behavior.demands(resource)
	for _, guarded := range q.behavior.ConditionalAccess {
		demanded = demanded || slices.ContainsFunc(claims, func(c string) bool {
			return strings.Contains(c, policyOf(guarded))
		})
	}
	if demanded {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.passed[session] = true
	}
}
