package msaldoc

import (
	"slices"
	"strings"
)

// appKeySuffix is how the partition key of an app's tokens ends.
const appKeySuffix = "_AppTokenCache"

// AppKey is MSAL's partition key of an app's token (authority.AuthParams.AppKey). extKey is that of tokens with
// parameters or claims of their own (CacheExtKeyGenerator).
func AppKey(client, realm, extKey string) string {
	key := client + "_" + realm
	if extKey != "" {
		key += "_" + extKey
	}
	return key + appKeySuffix
}

// AppKey is the partition key under which MSAL looks for an access token that is an app's.
func (e Entry) AppKey() string { return AppKey(e.ClientID, e.Realm, e.ExtCacheKey) }

// IsAppKey tells an app's partition key from an account's, in letters of any case.
func IsAppKey(key string) bool {
	return strings.HasSuffix(strings.ToLower(key), strings.ToLower(appKeySuffix))
}

// ReadByMSAL tells whether a section is one that MSAL looks into. It keeps the others.
func ReadByMSAL(section string) bool {
	_, is := known[section]
	return is
}

// KeyBound tells whether the entry is an access token that is bound to a key of the application's: nobody else could
// use it.
func (e Entry) KeyBound() bool {
	return e.Section == SectionAccessToken &&
		(e.KeyID != "" || e.TokenType != "" && !strings.EqualFold(e.TokenType, "Bearer"))
}

// RefreshesFor tells whether the entry is a refresh token that MSAL takes for a client: its own, or one of a family
// (Manager.readRefreshToken).
func (e Entry) RefreshesFor(client string) bool {
	return e.Section == SectionRefreshToken && (e.ClientID == client || e.FamilyID != "")
}

// RemovedAccounts are the accounts whose removal MSAL has exported. It removes the entries of one name of the cloud and
// of one client (Manager.RemoveAccount), so that others of the account may be left: it signs out all the same.
func RemovedAccounts(removed []Entry) []string {
	seen := map[string]bool{}
	var ids []string
	for _, e := range removed {
		if e.HomeAccountID != "" && !seen[e.HomeAccountID] {
			seen[e.HomeAccountID] = true
			ids = append(ids, e.HomeAccountID)
		}
	}
	return ids
}

// WithKeysFolded are entries with the keys that MSAL would give them. Those of MSAL 1.0 have capitals: MSAL renames
// such an entry when it reads it (needsUpgrade), which would look like a removal. Where it has been renamed already
// that one counts, as it does for MSAL.
func WithKeysFolded(entries []Entry) []Entry {
	var taken map[Place]bool
	for i, e := range entries {
		folded := strings.ToLower(e.Key)
		if folded == e.Key || !ReadByMSAL(e.Section) {
			continue
		}
		if taken == nil {
			entries = slices.Clone(entries)
			taken = make(map[Place]bool, len(entries))
			for _, e := range entries {
				taken[e.Place()] = true
			}
		}
		if taken[Place{e.Section, folded}] {
			entries[i].Section = "" // left out below
			continue
		}
		taken[Place{e.Section, folded}] = true
		entries[i].Key = folded
	}
	if taken == nil {
		return entries
	}
	return slices.DeleteFunc(entries, func(e Entry) bool { return e.Section == "" })
}
