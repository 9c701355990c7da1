package msalredis

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// A refresh token has a lineage rather than an identity: each use brings a new one. What is remembered of a
// secret is remembered by its hash.

// secretsAtMost bounds what is remembered of secrets: about 200 bytes each.
const secretsAtMost = 65536

// lineages remembers the lineage of the refresh tokens that MSAL was given or has brought.
type lineages struct {
	known *otter.Cache[tokenreq.Hash, tokenreq.Lineage]
}

func newLineages() *lineages {
	return &lineages{otter.Must(&otter.Options[tokenreq.Hash, tokenreq.Lineage]{MaximumSize: secretsAtMost, Executor: tokenstore.AtOnce})}
}

// of is the lineage of a secret; zero where it is not known.
func (l *lineages) of(secret string) tokenreq.Lineage {
	if secret == "" {
		return tokenreq.Lineage{}
	}
	known, _ := l.known.GetIfPresent(tokenreq.HashSecret(secret))
	return known
}

// learn takes in a refresh token of an account's partition.
func (l *lineages) learn(e msaldoc.Entry) {
	if e.Section != msaldoc.SectionRefreshToken || e.HomeAccountID == "" || e.Secret == "" {
		return
	}
	secret := tokenreq.HashSecret(e.Secret)
	now := tokenreq.Lineage{Kind: tokenreq.UserRefresh, Account: e.HomeAccountID, Partition: layout.PartitionID(e.HomeAccountID),
		Environment: e.Environment, Family: e.FamilyID}
	if held, ok := l.known.GetIfPresent(secret); ok && held == now {
		return
	}
	// The entry's text, or that of its whole document, must not stay with them.
	now.Account, now.Environment, now.Family = strings.Clone(now.Account), strings.Clone(now.Environment), strings.Clone(now.Family)
	l.known.Set(secret, now)
}

// follow takes in the refresh token of an answer to a request that goes on from another's, or begins.
func (l *lineages) follow(r *tokenRequest, secret string, owners []id) {
	if secret != "" {
		l.known.Set(tokenreq.HashSecret(secret), r.Next(owners))
	}
}

// ownersOf are the partitions of the user whom an answer is of: the one it names, or else those that the request's assertion may be
// of, or was when it brought the refresh token.
func (r *tokenRequest) ownersOf(a *answer) []id {
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
		owners = append(owners, r.pids...)
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// origin is what the gate knows of a token that passed it and that MSAL is about to store.
type origin struct {
	stamp redistime.Time
	// session is when the sign-in that it comes of was asked for; of a token that comes of none, when it was itself.
	session redistime.Time
	began   time.Duration // when that was, since the Cache's start, where it was asked for here; else 0
	tokenreq.Terms
	// Of an answer that may be unknown to the record when its user signs out:
	owners []id
}

// origins remembers the origin of tokens between the gate and Export.
type origins struct {
	known *otter.Cache[tokenreq.Hash, origin]
}

func newOrigins() *origins {
	return &origins{otter.Must(&otter.Options[tokenreq.Hash, origin]{MaximumSize: secretsAtMost, Executor: tokenstore.AtOnce})}
}

func (o *origins) of(secret string) (origin, bool) {
	if secret == "" {
		return origin{}, false
	}
	return o.known.GetIfPresent(tokenreq.HashSecret(secret))
}

// note remembers where an answer's tokens come from.
func (o *origins) note(a *answer, from origin) {
	from.stamp = redistime.Time(a.Stamp)
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if secret := a.Member(name); secret != "" {
			o.known.Set(tokenreq.HashSecret(secret), from)
		}
	}
}

// asks tells whether an access token is one of those that the request asks for, scopes aside. One that did not pass the gate
// says of itself what it can.
func (r *tokenRequest) asks(e record.Entry) bool {
	if e.Asked != "" {
		return e.Asked == string(r.Asked)
	}
	return strings.EqualFold(e.ClientID, r.Client) && e.Serves(r.Capabilities) && slices.Contains(r.realms, e.Realm) &&
		tokenreq.SameCloud(e.Environment, r.Server)
}

// match is the newest access token of a snapshot that answers a request, if there is one.
func match(s *record.Snapshot, r *tokenRequest, us int64) (record.Entry, bool) {
	var best record.Entry
	found := false
	if r.Special {
		return best, false
	}
	for _, e := range s.Live(redistime.Time(us)) {
		if e.Section != msaldoc.SectionAccessToken || e.HomeAccountID != r.Lineage.Account || e.KeyID != "" || e.ExtCacheKey != "" ||
			!r.asks(e) || !msaldoc.ScopesOf(e.Target).ContainsAll(r.Scopes) {
			continue
		}
		if !found || e.Stamp > best.Stamp {
			best, found = e, true
		}
	}
	return best, found
}

// refreshToken is the newest refresh token of a snapshot that the request's client may redeem: its own or its
// family's.
func refreshToken(s *record.Snapshot, r *tokenRequest) (record.Entry, bool) {
	var best record.Entry
	found := false
	if s == nil {
		return best, false
	}
	for _, e := range s.Entries {
		if e.Section != msaldoc.SectionRefreshToken || e.HomeAccountID != r.Lineage.Account || e.Secret == "" || !tokenreq.SameCloud(e.Environment, r.Lineage.Environment) {
			continue
		}
		if e.ClientID != r.Client && (e.FamilyID == "" || e.FamilyID != r.Lineage.Family) {
			continue
		}
		if !found || e.Stamp > best.Stamp {
			best, found = e, true
		}
	}
	return best, found
}

// answerFrom makes the answer that brought a stored access token, less the refresh token, which others may have
// redeemed since.
func answerFrom(s *record.Snapshot, at record.Entry, us int64) *answer {
	body := `{"token_type":"Bearer","scope":` + quoted(at.Target) +
		`,"expires_in":` + formatInt(max(0, at.ExpiresOn-us/second))
	if at.ExtendedExpiresOn > 0 {
		body += `,"ext_expires_in":` + formatInt(max(0, at.ExtendedExpiresOn-us/second))
	}
	if left := at.RefreshOn - us/second; at.RefreshOn > 0 {
		body += `,"refresh_in":` + formatInt(max(1, left))
	}
	body += `,"access_token":` + quoted(at.Secret)
	for _, e := range s.Live(redistime.Time(us)) {
		if e.Section == msaldoc.SectionIDToken && e.HomeAccountID == at.HomeAccountID && e.ClientID == at.ClientID && e.Realm == at.Realm && tokenreq.SameCloud(e.Environment, at.Environment) {
			body += `,"id_token":` + quoted(e.Secret)
			break
		}
	}
	if strings.Count(at.HomeAccountID, ".") == 1 { // else MSAL made it of the id_token's subject
		body += `,"client_info":` + quoted(tokenresp.ClientInfo(at.HomeAccountID))
	}
	body += "}"
	a := &answer{Answer: &tokenresp.Answer{Status: 200, Header: map[string]string{"Content-Type": "application/json; charset=utf-8"},
		Body: []byte(body), Started: us, Received: us, Stamp: at.Stamp.Micros()}}
	a.Judge()
	a.Due = at.Due * second
	return a
}

// entriesOf makes the entries that MSAL will make of a refresh's answer, so that the tokens are in Redis before the
// lease is released, also when every caller has left. before is the record as it was.
func entriesOf(r *tokenRequest, a *answer, before *record.Snapshot, session redistime.Time) []record.Entry {
	issued := msaldoc.Issued{
		HomeAccountID: r.Lineage.Account, Environment: r.Lineage.Environment, Realm: r.realms[0], ClientID: r.Client,
		TokenType: a.Member("token_type"), Target: a.Member("scope"), RefreshToken: a.Member("refresh_token"),
		FamilyID: a.Member("foci"), IDToken: a.Member("id_token"),
		CachedAt: a.Received / second, ExpiresOn: a.Expires / second, ExtendedExpiresOn: a.Expires / second, RefreshOn: a.Due / second,
	}
	if issued.FamilyID == "" {
		rt, _ := refreshToken(before, r)
		issued.FamilyID = rt.FamilyID
	}
	if issued.Target == "" {
		issued.Target = strings.Join(msaldoc.RequestedScopes(r.Form.Get("scope")), " ")
	}
	if in := a.Number("ext_expires_in"); in > 0 {
		issued.ExtendedExpiresOn = a.Started/second + in
	}
	// With claims MSAL says under which key the token is kept, if it was asked for by WithClaimsFromClient.
	if tt := issued.TokenType; (r.Challenge == "" || r.Newer) && !r.Special && (tt == "" || strings.EqualFold(tt, "Bearer")) {
		issued.AccessToken = a.Member("access_token")
	}
	var out []record.Entry
	for _, e := range issued.Entries() {
		if e.Section == msaldoc.SectionAccessToken {
			e.Capabilities, e.Asked = r.Capabilities, string(r.Asked)
		}
		out = append(out, record.New(e, redistime.Time(a.Stamp), session))
	}
	return out
}

// quoted is text as a JSON string.
func quoted(text string) string {
	b, _ := json.Marshal(text) // a string always marshals
	return string(b)
}
