package msalredis

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// A refresh token has a lineage rather than an identity: each use brings a new one. What is remembered of a
// secret is remembered by its hash.

type secretHash [16]byte

func hashSecret(secret string) secretHash {
	h := sha256.Sum256([]byte(secret))
	return secretHash(h[:16])
}

// hashText is what may be written of a secret.
func hashText(secret string) string {
	h := hashSecret(secret)
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// lineage is where a refresh token comes from: an account's partition, an on-behalf-of request, or another refresh token.
// It decides under which lease it is redeemed, and which newer one is sent in its place; never which answer serves.
type lineage struct {
	account     string // home account id
	pid         id
	environment string
	family      string

	assertion string // MSAL's key of the assertion; "": none
	first     string // the hash of the first refresh token, where nothing else is known
	owners    string // the partitions of the assertion's user
}

// secretsAtMost bounds what is remembered of secrets: about 200 bytes each.
const secretsAtMost = 65536

// lineages remembers the lineage of the refresh tokens that MSAL was given or has brought.
type lineages struct {
	known *otter.Cache[secretHash, lineage]
}

func newLineages() *lineages {
	return &lineages{otter.Must(&otter.Options[secretHash, lineage]{MaximumSize: secretsAtMost, Executor: atOnce})}
}

func (l *lineages) of(secret string) (lineage, bool) {
	if secret == "" {
		return lineage{}, false
	}
	return l.known.GetIfPresent(hashSecret(secret))
}

// learn takes in a refresh token of an account's partition.
func (l *lineages) learn(e serializer.Entry) {
	if e.Section != serializer.SectionRefreshToken || e.HomeAccountID == "" || e.Secret == "" {
		return
	}
	secret := hashSecret(e.Secret)
	now := lineage{account: e.HomeAccountID, pid: layout.PartitionID(e.HomeAccountID), environment: e.Environment, family: e.FamilyID}
	if held, ok := l.known.GetIfPresent(secret); ok && held == now {
		return
	}
	// The entry's text, or that of its whole document, must not stay with them.
	now.account, now.environment, now.family = strings.Clone(now.account), strings.Clone(now.environment), strings.Clone(now.family)
	l.known.Set(secret, now)
}

// follow takes in the refresh token of an answer to a request that goes on from another's, or begins.
func (l *lineages) follow(r *tokenRequest, secret string, owners []id) {
	if secret == "" {
		return
	}
	next := lineage{assertion: r.assertionKey(), owners: joined(owners)}
	if r.lineage != nil {
		next.first = r.lineage.first
	} else if r.grant == grantRefreshToken {
		next.first = hashText(r.form.Get("refresh_token"))
	}
	l.known.Set(hashSecret(secret), next)
}

// joined are ids in one text.
func joined(ids []id) string {
	names := make([]string, len(ids))
	for i, pid := range ids {
		names[i] = string(pid)
	}
	return strings.Join(names, " ")
}

// ownersOf are the partitions of the user whom an answer is of: the one it names, or else those that the request's assertion may be
// of, or was when it brought the refresh token.
func (r *tokenRequest) ownersOf(a *answer) []id {
	owners := a.owners()
	if layout.HomeAccount(a.body) != "" {
		return owners
	}
	switch {
	case r.grant == grantOnBehalfOf:
		owners = append(owners, subjects(r.form.Get("assertion"))...)
	case r.lineage != nil && r.lineage.assertion != "":
		for _, name := range strings.Fields(r.lineage.owners) {
			owners = append(owners, id(name))
		}
	case r.grant == grantRefreshToken:
		owners = append(owners, r.pids...)
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// origin is what the gate knows of a token that passed it and that MSAL is about to store.
type origin struct {
	stamp int64
	known int64 // the generation of its partition when it was asked for
	fresh bool  // of a sign-in
	// session is when that sign-in was asked for, or the one that a refresh goes back to; 0: that is not known.
	session int64
	timed   bool // session is Redis's own time, and orders the sign-in among sign-outs
	terms
	// Of an answer that may be unknown to the record when its user signs out:
	owners []id
	began  int64 // when its request began, since the Cache's start
}

// origins remembers the origin of tokens between the gate and Export.
type origins struct {
	known *otter.Cache[secretHash, origin]
}

func newOrigins() *origins {
	return &origins{otter.Must(&otter.Options[secretHash, origin]{MaximumSize: secretsAtMost, Executor: atOnce})}
}

func (o *origins) of(secret string) (origin, bool) {
	if secret == "" {
		return origin{}, false
	}
	return o.known.GetIfPresent(hashSecret(secret))
}

// note remembers where an answer's tokens come from.
func (o *origins) note(a *answer, from origin) {
	from.stamp = a.stamp
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if secret := a.member(name); secret != "" {
			o.known.Set(hashSecret(secret), from)
		}
	}
}

// asks tells whether an access token is one of those that the request asks for, scopes aside. One that did not pass the gate
// says of itself what it can.
func (r *tokenRequest) asks(e stored) bool {
	if e.Asked != "" {
		return e.Asked == string(r.asked)
	}
	return strings.EqualFold(e.ClientID, r.client) && serves(e, r.declared) && slices.Contains(r.realms, e.Realm) &&
		sameCloud(e.Environment, r.server)
}

// match is the newest access token of a snapshot that answers a request, if there is one.
func (s *snapshot) match(r *tokenRequest, us int64) (stored, bool) {
	var best stored
	found := false
	if r.special {
		return best, false
	}
	for _, e := range s.live(us) {
		if e.Section != serializer.SectionAccessToken || e.HomeAccountID != r.lineage.account || e.KeyID != "" || e.ExtCacheKey != "" ||
			!r.asks(e) || !scopesOf(e.Target).containsAll(r.scopes) {
			continue
		}
		if !found || e.stamp > best.stamp {
			best, found = e, true
		}
	}
	return best, found
}

// refreshToken is the newest refresh token of a snapshot that the request's client may redeem: its own or its
// family's.
func (s *snapshot) refreshToken(r *tokenRequest) (stored, bool) {
	var best stored
	found := false
	if s == nil {
		return best, false
	}
	for _, e := range s.entries {
		if e.Section != serializer.SectionRefreshToken || e.HomeAccountID != r.lineage.account || e.Secret == "" || !sameCloud(e.Environment, r.lineage.environment) {
			continue
		}
		if e.ClientID != r.client && (e.FamilyID == "" || e.FamilyID != r.lineage.family) {
			continue
		}
		if !found || e.stamp > best.stamp {
			best, found = e, true
		}
	}
	return best, found
}

// answerFrom makes the answer that brought a stored access token, less the refresh token, which others may have
// redeemed since.
func (s *snapshot) answerFrom(at stored, us int64) *answer {
	body := `{"token_type":"Bearer","scope":` + quoted(at.Target) +
		`,"expires_in":` + formatInt(max(0, at.ExpiresOn-us/second))
	if at.ExtendedExpiresOn > 0 {
		body += `,"ext_expires_in":` + formatInt(max(0, at.ExtendedExpiresOn-us/second))
	}
	if left := at.RefreshOn - us/second; at.RefreshOn > 0 {
		body += `,"refresh_in":` + formatInt(max(1, left))
	}
	body += `,"access_token":` + quoted(at.Secret)
	for _, e := range s.live(us) {
		if e.Section == serializer.SectionIDToken && e.HomeAccountID == at.HomeAccountID && e.ClientID == at.ClientID && e.Realm == at.Realm && sameCloud(e.Environment, at.Environment) {
			body += `,"id_token":` + quoted(e.Secret)
			break
		}
	}
	if strings.Count(at.HomeAccountID, ".") == 1 { // else MSAL made it of the id_token's subject
		body += `,"client_info":` + quoted(clientInfo(at.HomeAccountID))
	}
	body += "}"
	a := &answer{status: 200, header: map[string]string{"Content-Type": "application/json; charset=utf-8"}, body: []byte(body), started: us, received: us, stamp: at.stamp}
	a.judge()
	a.due = at.due * second
	return a
}

// entriesOf makes the entries that MSAL will make of a refresh's answer, so that the tokens are in Redis before the
// lease is released, also when every caller has left. before is the record as it was.
func (c *Cache) entriesOf(r *tokenRequest, a *answer, before *snapshot, session int64) []stored {
	now := a.received / second
	rt, _ := before.refreshToken(r)
	environment := r.lineage.environment
	var out []stored
	add := func(section, key string, members ...string) {
		raw := "{"
		for i := 0; i < len(members); i += 2 {
			if members[i+1] == "" {
				continue
			}
			if raw != "{" {
				raw += ","
			}
			raw += quoted(members[i]) + ":" + quoted(members[i+1])
		}
		if e, err := serializer.NewEntry(section, strings.ToLower(key), []byte(raw+"}")); err == nil {
			if section == serializer.SectionAccessToken {
				e.Capabilities, e.Asked = r.declared, string(r.asked)
			}
			x := newStored(e, a.stamp)
			x.session = session
			out = append(out, x)
		}
	}
	account := r.lineage.account
	if secret := a.member("refresh_token"); secret != "" {
		family := a.member("foci")
		if family == "" {
			family = rt.FamilyID
		}
		owner := family
		if owner == "" {
			owner = r.client
		}
		add(serializer.SectionRefreshToken, account+"-"+environment+"-RefreshToken-"+owner,
			"home_account_id", account, "environment", environment, "credential_type", "RefreshToken",
			"client_id", r.client, "family_id", family, "secret", secret)
	}
	target := a.member("scope")
	if target == "" {
		target = strings.Join(requestedScopes(r), " ")
	}
	realm := r.realms[0]
	refreshOn := ""
	if a.due > 0 {
		refreshOn = formatInt(a.due / second)
	}
	ext := a.expires / second
	if in := memberNumber(a, "ext_expires_in"); in > 0 {
		ext = a.started/second + in
	}
	// With claims MSAL says under which key the token is kept, if it was asked for by WithClaimsFromClient.
	if tt := a.member("token_type"); (r.challenge == "" || r.newer) && !r.special && (tt == "" || strings.EqualFold(tt, "Bearer")) {
		add(serializer.SectionAccessToken, account+"-"+environment+"-AccessToken-"+r.client+"-"+realm+"-"+target,
			"home_account_id", account, "environment", environment, "realm", realm, "credential_type", "AccessToken",
			"client_id", r.client, "secret", a.member("access_token"), "target", target, "refresh_on", refreshOn,
			"expires_on", formatInt(a.expires/second), "extended_expires_on", formatInt(ext), "cached_at", formatInt(now),
			"token_type", a.member("token_type"))
	}
	if secret := a.member("id_token"); secret != "" {
		add(serializer.SectionIDToken, account+"-"+environment+"-IdToken-"+r.client+"-"+realm,
			"home_account_id", account, "environment", environment, "realm", realm, "credential_type", "IdToken",
			"client_id", r.client, "secret", secret)
	}
	return out
}

// withClientInfo adds the client_info that an answer lacks, without which MSAL takes a user's token for an app's.
func withClientInfo(body []byte, account string) []byte {
	if strings.Count(account, ".") != 1 {
		return body
	}
	end := bytes.LastIndexByte(body, '}')
	if end < 0 {
		return body
	}
	out := append([]byte(nil), body[:end]...)
	out = append(out, `,"client_info":`+quoted(clientInfo(account))...)
	return append(out, body[end:]...)
}

// requestedScopes are a request's scopes as they were written.
func requestedScopes(r *tokenRequest) []string {
	return slices.DeleteFunc(strings.Fields(r.form.Get("scope")), func(s string) bool { return oidcScopes[strings.ToLower(s)] })
}
