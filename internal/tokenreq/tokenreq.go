package tokenreq

import (
	"net/http"
	"net/url"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
)

// Kind is what a token request is to those who share tokens.
type Kind int

const (
	// Untouched passes as it is, and nobody looks at its answer.
	Untouched Kind = iota
	// SignIn passes as it is. Its answer is looked at: it begins a session.
	SignIn
	// App is for a token of an application's own.
	App
	// OnBehalfOf is for a token of the user whose assertion it has.
	OnBehalfOf
	// OnBehalfOfRefresh goes on from an OnBehalfOf with the refresh token that this has brought.
	OnBehalfOfRefresh
	// UserRefresh redeems a refresh token that stands in the record of an account.
	UserRefresh
	// UserFIC is for a token of a user whom a federated identity credential stands for. It is a sign-in, too.
	UserFIC
	// UnknownRefresh redeems a refresh token of which nothing is known: perhaps of a sign-in that MSAL has not told of
	// yet.
	UnknownRefresh
	// RotatedRefresh redeems one that an UnknownRefresh, or another RotatedRefresh, has brought.
	RotatedRefresh
)

// Sharing is where a request's answer is looked for and kept.
type Sharing int

const (
	// Nowhere: it is its caller's alone.
	Nowhere Sharing = iota
	// ByIdentity: under [Request.ID].
	ByIdentity
	// InRecord: among the tokens of [Lineage.Account], under the lease of its partition. Two requests for different scopes
	// must not redeem one refresh token twice. What a record does not tell is kept by identity.
	InRecord
)

// Policy is what may be done with the requests of a kind.
type Policy struct {
	Shares Sharing
	// Handover is for how long an answer serves others; 0: for its token's useful life.
	Handover time.Duration
	// OldServes: a token in the last minutes of its life serves while no new one is to be had.
	OldServes bool
	// Named: only an answer that names its user is shared, for a sign-out must find it.
	Named bool
	// SendsNewest: the newest refresh token that is known is sent in the place of the request's, which may have been
	// redeemed.
	SendsNewest bool
	// Repeats: the client can ask for the next token whatever the answer brings. Else it needs a refresh token in it.
	Repeats bool
	// LandsFirst: callers have the answer before it is kept for the fleet, to which MSAL's Export gives it as well.
	LandsFirst bool
	// Recalled: what this process has of it, and Redis has confirmed lately, serves without a look. A user's does not: it
	// is asked for seldom, and a sign-out is to be seen at once.
	Recalled bool
}

// The table of kinds. grant and whose are parts of the identity: with which grant the token was first asked for, and
// for whom.
var kinds = [...]struct {
	name  string
	grant string
	whose func(*Request) string
	Policy
}{
	Untouched: {name: "untouched"},
	SignIn:    {name: "sign-in"},
	App: {"app", GrantClientCredentials, func(*Request) string { return "" },
		Policy{Shares: ByIdentity, OldServes: true, Repeats: true, LandsFirst: true, Recalled: true}},
	// MSAL's on-behalf-of manager refuses an old token.
	OnBehalfOf: {"on behalf of", GrantOnBehalfOf, func(r *Request) string { return r.Assertion },
		Policy{Shares: ByIdentity, Named: true, Repeats: true}},
	OnBehalfOfRefresh: {"refresh on behalf of", GrantOnBehalfOf, func(r *Request) string { return r.Assertion },
		Policy{Shares: ByIdentity, Named: true, SendsNewest: true, Repeats: true}},
	UserRefresh: {"refresh of a user", GrantRefreshToken, func(r *Request) string { return string(r.Lineage.Partition) },
		Policy{Shares: InRecord, OldServes: true, SendsNewest: true, Repeats: true}},
	UserFIC: {"user by federated credential", GrantUserFIC, federatedUser,
		Policy{Shares: ByIdentity, Handover: time.Minute, OldServes: true}},
	UnknownRefresh: {"unknown refresh", GrantRefreshToken, func(r *Request) string { return r.Lineage.First },
		Policy{Shares: ByIdentity, Handover: time.Minute, OldServes: true}},
	RotatedRefresh: {"rotated refresh", GrantRefreshToken, func(r *Request) string { return r.Lineage.First },
		Policy{Shares: ByIdentity, OldServes: true, SendsNewest: true, Repeats: true}},
}

func (k Kind) String() string { return kinds[k].name }

// Policy is the kind's line of the table.
func (k Kind) Policy() Policy { return kinds[k].Policy }

// FirstGrant is the grant with which a token of this kind was first asked for.
func (k Kind) FirstGrant() string { return kinds[k].grant }

// Request is a token request, understood. Of one that is [Untouched] there is its Kind and its Grant only, of a
// [SignIn] also its Terms and whether it is Special.
type Request struct {
	Kind  Kind
	Grant string
	// what to post: that of the request, and client_info, for which who shares the answer may have asked
	Form       url.Values
	Endpoint   string // without query
	Server     string // the endpoint's host
	Client     string
	Scopes     msaldoc.Scopes // without those that MSAL adds
	Credential Credential
	Terms

	// Challenge is the hash of claims beyond capabilities: a resource has refused what there was. Nothing older than the
	// request answers it.
	Challenge string
	// Newer: the challenge asks for nothing but a later token, as that of continuous access evaluation does; its answer is
	// what there was, renewed
	// (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
	Newer bool

	ID layout.ID // whose answer this is
	// Base is the identity without the challenge, whose answer a challenge's success replaces.
	Base layout.ID
	// Special: no token in a record says that it is what this asks for. Its scopes name no resource, it has a parameter
	// that is not known, or it proves itself by a TLS certificate.
	Special bool

	Lineage   Lineage // of the refresh token
	Assertion string  // MSAL's key of the assertion on whose behalf it is; "": on nobody's
}

// Terms are what a token is asked for with and does not say itself. Scopes it says.
type Terms struct {
	Capabilities string    // the client's, as an entry has them
	Asked        layout.ID // these, the endpoint, the client, its credential, and parameters
}

// Lineage is where a refresh token comes from. It decides under which lease it is redeemed, and which newer one is sent
// in its place; never which answer serves. Lineages can be compared.
type Lineage struct {
	// Kind is that of the requests with such a token: UserRefresh, OnBehalfOfRefresh or RotatedRefresh. Zero: nothing is
	// known.
	Kind Kind

	// Of a user's:
	Account     string // home account id
	Partition   layout.ID
	Environment string
	Family      string

	// Of one on behalf of a user:
	Assertion string // MSAL's key of the assertion
	Owners    string // the partitions of the assertion's user, see [Lineage.OwnersOf]

	// Of one that is rotated, and of an unknown one itself:
	First string // the hash of the first refresh token
}

// Understand says what a request is. from is the lineage of the form's refresh token, where it is known; now is the
// time by which a client assertion is valid or not. The request's body has been read, and is not looked at.
func Understand(req *http.Request, form url.Values, from Lineage, now time.Time) Request {
	cred := credentialOf(form, now)
	r := Request{Kind: kindOf(req, form, cred), Grant: form.Get("grant_type")}
	if r.Kind == Untouched {
		return r
	}
	client, endpoint, scopes := form.Get("client_id"), endpointOf(req.URL), msaldoc.ScopesOf(form.Get("scope"))
	capabilities, challenge, newer := splitClaims(form.Get("claims"))
	resource, further := scopes.Resource(), parametersOf(req, form)
	r.Terms = termsOf(req, client, endpoint, cred, capabilities, further)
	r.Special = special(req, resource, further)
	if r.Kind == SignIn {
		return r
	}
	r.Form, r.Credential = withClientInfo(form), cred
	r.Endpoint, r.Server = endpoint, req.URL.Host
	r.Client, r.Scopes = client, resource
	switch {
	case r.Kind == OnBehalfOf:
		r.Assertion = AssertionKey(form.Get("assertion"))
	case r.Kind == UnknownRefresh && from.Kind == 0:
		r.Lineage.First = HashSecret(form.Get("refresh_token")).String()
	case r.Kind == UnknownRefresh:
		r.Kind, r.Lineage, r.Assertion = from.Kind, from, from.Assertion
	}
	r.identify(scopes, challenge, newer)
	return r
}
