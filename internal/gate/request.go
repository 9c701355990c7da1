package gate

import (
	"net/http"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
)

// tokenRequest is a request that the gate answers: what it is, and what this process knew when it came.
type tokenRequest struct {
	answers.Request
	flight string
	begun  redistime.Time // when MSAL sent it

	// Copies: a flight may go on when RoundTrip has returned, and its caller has the request back.
	address string
	host    string // the Host field, where it is not the address's
	header  http.Header
	via     http.RoundTripper
}

// newTokenRequest adds to a request that is shared what this process knows.
func (g *Gate) newTokenRequest(req *http.Request, asked tokenreq.Request, via http.RoundTripper) *tokenRequest {
	r := &tokenRequest{
		Request: answers.Request{Request: asked}, flight: string(asked.ID) + " " + asked.Grant,
		address: req.URL.String(), host: req.Host, header: req.Header.Clone(), via: via,
	}
	r.begun = g.o.Clock.Now()
	r.Tenants = g.documents.Tenants(r.Endpoint, req.URL.Path)
	switch r.Kind {
	case tokenreq.App:
		for _, realm := range r.Tenants {
			r.Partitions = append(r.Partitions, layout.PartitionID(msaldoc.AppKey(r.Client, realm, "")))
		}
	case tokenreq.UserRefresh:
		r.Partitions = []id{r.Lineage.Partition}
	}
	return r
}

// inRecord tells whether the answer belongs into the record of a user who is known before it comes.
func (r *tokenRequest) inRecord() bool { return r.Kind.Policy().Shares == tokenreq.InRecord }
