package answers

import (
	"slices"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// Request is a token request, with what this process knows of it.
type Request struct {
	tokenreq.Request
	Tenants []string // the names of its endpoint's tenant
	// Partitions are what a removal must find its answer by: an app's partition under each name of its tenant; none: known
	// from the answer.
	Partitions []layout.ID
	By         any // whose base transport it is sent by; only compared
}

// recalled tells whether what this process has of the request's answer may serve without a look in Redis. Who was
// challenged has had that.
func (r *Request) recalled() bool { return r.Kind.Policy().Recalled && r.Challenge == "" }

// OwnersOf are the partitions of the user whom an answer is of: the one it names, or else those that the request's
// assertion may be of, or was when it brought the refresh token.
func (r *Request) OwnersOf(a *Answer) []layout.ID {
	owners := a.Owners()
	if layout.HomeAccount(a.Body) != "" {
		return owners
	}
	switch r.Kind {
	case tokenreq.OnBehalfOf:
		owners = append(owners, tokenresp.Subjects(r.Form.Get("assertion"))...)
	case tokenreq.OnBehalfOfRefresh:
		owners = append(owners, r.Lineage.OwnersOf()...)
	case tokenreq.UserRefresh:
		owners = append(owners, r.Partitions...)
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// partitionsOf are the partitions that an answer belongs to.
func (r *Request) partitionsOf(a *Answer) []layout.ID {
	if a.Good && r.Kind != tokenreq.App {
		if owners := r.OwnersOf(a); len(owners) > 0 {
			return owners
		}
	}
	return r.Partitions
}
