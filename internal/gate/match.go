package gate

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// asks tells whether an access token is one of those that the request asks for, scopes aside. One that did not pass the
// gate says of itself what it can.
func (r *tokenRequest) asks(e record.Entry) bool {
	if e.Asked != "" {
		return e.Asked == string(r.Asked)
	}
	return strings.EqualFold(e.ClientID, r.Client) && e.Serves(r.Capabilities) && slices.Contains(r.Tenants, e.Realm) &&
		tokenreq.SameCloud(e.Environment, r.Server)
}

// match is the access token of a snapshot that answers a request, if there is one: the one that was asked for last, for
// it lives longest.
func match(s *record.Snapshot, r *tokenRequest, now redistime.Time) (record.Entry, bool) {
	var best record.Entry
	found := false
	if r.Special {
		return best, false
	}
	for _, e := range s.Live(now) {
		if e.Section != msaldoc.SectionAccessToken || e.HomeAccountID != r.Lineage.Account || e.KeyID != "" ||
			e.ExtCacheKey != "" || !r.asks(e) || !msaldoc.ScopesOf(e.Target).ContainsAll(r.Scopes) {
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
		if e.Section != msaldoc.SectionRefreshToken || e.HomeAccountID != r.Lineage.Account || e.Secret == "" ||
			!tokenreq.SameCloud(e.Environment, r.Lineage.Environment) {
			continue
		}
		if e.ClientID != r.Client && (e.FamilyID == "" || e.FamilyID != r.Lineage.Family) {
			continue
		}
		if !found || e.Newer(best) {
			best, found = e, true
		}
	}
	return best, found
}

// answerFrom makes the answer that brought a stored access token, less the refresh token, which others may have
// redeemed since.
func answerFrom(s *record.Snapshot, at record.Entry, now redistime.Time) *answers.Answer {
	body := `{"token_type":"Bearer","scope":` + quoted(at.Target) +
		`,"expires_in":` + formatInt(max(0, at.ExpiresOn-now.Seconds()))
	if at.ExtendedExpiresOn > 0 {
		body += `,"ext_expires_in":` + formatInt(max(0, at.ExtendedExpiresOn-now.Seconds()))
	}
	if left := at.RefreshOn - now.Seconds(); at.RefreshOn > 0 {
		body += `,"refresh_in":` + formatInt(max(1, left))
	}
	body += `,"access_token":` + quoted(at.Secret)
	for _, e := range s.Live(now) {
		if e.Section == msaldoc.SectionIDToken && e.HomeAccountID == at.HomeAccountID && e.ClientID == at.ClientID &&
			e.Realm == at.Realm && tokenreq.SameCloud(e.Environment, at.Environment) {
			body += `,"id_token":` + quoted(e.Secret)
			break
		}
	}
	if strings.Count(at.HomeAccountID, ".") == 1 { // else MSAL made it of the id_token's subject
		body += `,"client_info":` + quoted(tokenresp.ClientInfo(at.HomeAccountID))
	}
	body += "}"
	a := &answers.Answer{Session: at.Session, Answer: &tokenresp.Answer{
		Status: 200, Header: map[string]string{"Content-Type": "application/json; charset=utf-8"},
		Body: []byte(body), Started: now, Received: now, Stamp: at.Stamp,
	}}
	a.Judge()
	return a
}

// entriesOf makes the entries that MSAL will make of a refresh's answer, so that the tokens are in Redis before the
// lease is released, also when every caller has left. before is the record as it was.
func entriesOf(r *tokenRequest, a *answers.Answer, before *record.Snapshot, session redistime.Time) []record.Entry {
	issued := msaldoc.Issued{
		HomeAccountID: r.Lineage.Account, Environment: r.Lineage.Environment, Realm: r.Tenants[0], ClientID: r.Client,
		TokenType: a.Member("token_type"), Target: a.Member("scope"), RefreshToken: a.Member("refresh_token"),
		FamilyID: a.Member("foci"), IDToken: a.Member("id_token"),
		CachedAt: a.Received.Seconds(), ExpiresOn: a.Expires.Seconds(), ExtendedExpiresOn: a.Expires.Seconds(),
		RefreshOn: a.Due.Seconds(),
	}
	if issued.FamilyID == "" {
		rt, _ := refreshToken(before, r)
		issued.FamilyID = rt.FamilyID
	}
	if issued.Target == "" {
		issued.Target = strings.Join(msaldoc.RequestedScopes(r.Form.Get("scope")), " ")
	}
	if in := a.Number("ext_expires_in"); in > 0 {
		issued.ExtendedExpiresOn = a.Started.Seconds() + in
	}
	// With claims MSAL says under which key the token is kept, if it was asked for by WithClaimsFromClient.
	tt := issued.TokenType
	if (r.Challenge == "" || r.Newer) && !r.Special && (tt == "" || strings.EqualFold(tt, "Bearer")) {
		issued.AccessToken = a.Member("access_token")
	}
	var out []record.Entry
	for _, e := range issued.Entries() {
		if e.Section == msaldoc.SectionAccessToken {
			e.Capabilities, e.Asked = r.Capabilities, string(r.Asked)
		}
		out = append(out, record.New(e, a.Stamp, session))
	}
	return out
}

// quoted is text as a JSON string.
func quoted(text string) string {
	b, _ := json.Marshal(text) // a string always marshals
	return string(b)
}
