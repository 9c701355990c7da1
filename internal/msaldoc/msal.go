package msaldoc

// What MSAL Go (v1.10.1) does with the document, apps/internal/base/storage and
// apps/internal/json, as far as it decides what may be handed to it. TestMSALNeedsEachRepair
// and TestMSALFixedPoint hold it to the real thing.
//
//   - One value it does not expect fails the whole Unmarshal: a known text
//     member that is a number, a time that is null, "" or a decimal,
//     an entry that is no object, a known section that is no object.
//   - A name it does not know is kept in AdditionalFields and written back. But it
//     looks a name up as a Go field name, too, so "Secret" or "Accounts" count as
//     known, and "AdditionalFields" replaces what was kept.
//   - It writes text members that are "" and absent times as nothing. An entry
//     that has nothing else comes out as a lone "}", which is no JSON: the next
//     Unmarshal of that document fails as a whole.
//     A time of the first second of the year 1 does the same.
//   - It writes names with %q. A control character in one comes out as \x01 or
//     \a, which is no JSON either.
//   - Of two sections, entries or members with one name the last counts. A known
//     text member that is null changes nothing.

type memberKind uint8

const (
	unknownMember memberKind = iota // kept by MSAL as it is
	textMember                      // must be a string; "" and null mean absent
	timeMember                      // must be whole seconds, as a string or a number
	foreignMember                   // a Go field name: must not be handed to MSAL
)

// member says how MSAL reads one member of an entry. bit numbers the known members of a section.
type member struct {
	kind memberKind
	bit  uint8
}

// known maps section and member name to how MSAL reads it. A section absent
// here is unknown to MSAL, which keeps it whole.
var known = map[string]map[string]member{
	SectionAccessToken: members(
		[]string{"home_account_id", "environment", "realm", "credential_type", "client_id", "secret", "target",
			"user_assertion_hash", "token_type", "keyid", "ext_cache_key"},
		[]string{"refresh_on", "expires_on", "extended_expires_on", "cached_at"},
		[]string{"HomeAccountID", "Environment", "Realm", "CredentialType", "ClientID", "Secret", "Scopes",
			"RefreshOn", "ExpiresOn", "ExtendedExpiresOn", "CachedAt", "UserAssertionHash", "TokenType",
			"AuthnSchemeKeyID", "ExtCacheKey", "AdditionalFields"}),
	SectionRefreshToken: members(
		[]string{"home_account_id", "environment", "credential_type", "client_id", "family_id", "secret", "realm",
			"target", "user_assertion_hash"},
		nil,
		[]string{"HomeAccountID", "Environment", "CredentialType", "ClientID", "FamilyID", "Secret", "Realm",
			"Target", "UserAssertionHash", "AdditionalFields"}),
	SectionIDToken: members(
		[]string{"home_account_id", "environment", "realm", "credential_type", "client_id", "secret",
			"user_assertion_hash"},
		nil,
		[]string{"HomeAccountID", "Environment", "Realm", "CredentialType", "ClientID", "Secret",
			"UserAssertionHash", "AdditionalFields"}),
	SectionAccount: members(
		[]string{"home_account_id", "environment", "realm", "local_account_id", "authority_type", "username",
			"given_name", "family_name", "middle_name", "name", "alternative_account_id", "client_info",
			"user_assertion_hash"},
		nil,
		[]string{"HomeAccountID", "Environment", "Realm", "LocalAccountID", "AuthorityType", "PreferredUsername",
			"GivenName", "FamilyName", "MiddleName", "Name", "AlternativeID", "RawClientInfo",
			"UserAssertionHash", "AdditionalFields"}),
	SectionAppMetadata: members(
		[]string{"family_id", "client_id", "environment"},
		nil,
		[]string{"FamilyID", "ClientID", "Environment", "AdditionalFields"}),
}

func members(texts, times, foreign []string) map[string]member {
	m := map[string]member{}
	for _, n := range texts {
		m[n] = member{textMember, uint8(len(m))}
	}
	for _, n := range times {
		m[n] = member{timeMember, uint8(len(m))}
	}
	for _, n := range foreign {
		m[n] = member{kind: foreignMember}
	}
	return m
}

// foreignSection reports whether MSAL would take an unknown section's name for one of its Go fields.
func foreignSection(name string) bool {
	switch name {
	case "AccessTokens", "RefreshTokens", "IDTokens", "Accounts", "AppMetaData", "AdditionalFields":
		return true
	}
	return false
}

// sectionRank orders sections as MSAL writes them, the unknown ones after.
func sectionRank(section string) int {
	switch section {
	case SectionAccessToken:
		return 0
	case SectionRefreshToken:
		return 1
	case SectionIDToken:
		return 2
	case SectionAccount:
		return 3
	case SectionAppMetadata:
		return 4
	}
	return 5
}

// msalZeroTime is the one second that MSAL reads and then writes as nothing
// at all, leaving `"expires_on":,` in the document: Go's zero time.
const msalZeroTime = -62135596800
