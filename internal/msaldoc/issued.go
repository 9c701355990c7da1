package msaldoc

import (
	"cmp"
	"strconv"
)

// Issued is what a token endpoint has issued to a client, as MSAL will keep it (Manager.Write). What is "" was not
// issued.
type Issued struct {
	HomeAccountID, Environment, Realm, ClientID string

	AccessToken, TokenType, Target string
	// Unix seconds. RefreshOn may be 0: none.
	CachedAt, ExpiresOn, ExtendedExpiresOn, RefreshOn int64

	RefreshToken, FamilyID string
	IDToken                string
}

// Entries are those that MSAL makes of what was issued, account and application aside: the refresh token, the access
// token, the id_token.
func (i Issued) Entries() []Entry {
	var out []Entry
	add := func(section string, key []string, members ...string) {
		members = append(members, "home_account_id", i.HomeAccountID, "environment", i.Environment, "client_id", i.ClientID)
		if e, err := newEntryOf(section, key, members...); err == nil {
			out = append(out, e)
		}
	}
	if i.RefreshToken != "" {
		add(SectionRefreshToken, []string{i.HomeAccountID, i.Environment, "RefreshToken", cmp.Or(i.FamilyID, i.ClientID)},
			"credential_type", "RefreshToken", "family_id", i.FamilyID, "secret", i.RefreshToken)
	}
	if i.AccessToken != "" {
		refreshOn := ""
		if i.RefreshOn > 0 {
			refreshOn = decimal(i.RefreshOn)
		}
		add(SectionAccessToken, []string{i.HomeAccountID, i.Environment, "AccessToken", i.ClientID, i.Realm, i.Target},
			"realm", i.Realm, "credential_type", "AccessToken", "secret", i.AccessToken, "target", i.Target,
			"token_type", i.TokenType, "refresh_on", refreshOn, "expires_on", decimal(i.ExpiresOn),
			"extended_expires_on", decimal(i.ExtendedExpiresOn), "cached_at", decimal(i.CachedAt))
	}
	if i.IDToken != "" {
		add(SectionIDToken, []string{i.HomeAccountID, i.Environment, "IdToken", i.ClientID, i.Realm},
			"realm", i.Realm, "credential_type", "IdToken", "secret", i.IDToken)
	}
	return out
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
