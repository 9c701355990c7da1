package msaldoc

import (
	"slices"
	"testing"
	"time"
)

func TestAppKeys(t *testing.T) {
	for _, c := range []struct{ client, realm, extKey, want string }{
		{"c", "t", "", "c_t_AppTokenCache"},
		{"c", "", "", "c__AppTokenCache"},
		{"c", "t", "x", "c_t_x_AppTokenCache"},
	} {
		e := Entry{ClientID: c.client, Realm: c.realm, ExtCacheKey: c.extKey}
		if got := AppKey(c.client, c.realm, c.extKey); got != c.want || e.AppKey() != c.want || !IsAppKey(got) {
			t.Errorf("%q, %q, want %q", got, e.AppKey(), c.want)
		}
	}
	for key, is := range map[string]bool{"C_T_APPTOKENCACHE": true, "u.t": false, "": false, "c_t_AppTokenCache ": false} {
		if IsAppKey(key) != is {
			t.Errorf("%q: %v", key, !is)
		}
	}
}

func TestWithKeysFolded(t *testing.T) {
	entries := []Entry{
		{Section: SectionAccount, Key: "A"}, {Section: SectionAccount, Key: "b"}, {Section: SectionAccount, Key: "B"},
		{Section: SectionIDToken, Key: "A"}, {Section: "X", Key: "A"}, {Section: SectionAccount, Key: "C"},
		{Section: SectionAccount, Key: "c"},
	}
	before := slices.Clone(entries)
	var got []Place
	for _, e := range WithKeysFolded(entries) {
		got = append(got, e.Place())
	}
	want := []Place{{SectionAccount, "a"}, {SectionAccount, "b"}, {SectionIDToken, "a"}, {"X", "A"}, {SectionAccount, "c"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for i := range entries {
		if entries[i].Place() != before[i].Place() {
			t.Error("what was given has changed")
		}
	}
}

func TestKeyBoundAndRefreshesFor(t *testing.T) {
	for _, c := range []struct {
		e     Entry
		bound bool
	}{
		{Entry{Section: SectionAccessToken}, false},
		{Entry{Section: SectionAccessToken, TokenType: "bearer"}, false},
		{Entry{Section: SectionAccessToken, TokenType: "pop"}, true},
		{Entry{Section: SectionAccessToken, TokenType: "Bearer", KeyID: "k"}, true},
		{Entry{Section: SectionIDToken, KeyID: "k"}, false},
	} {
		if c.e.KeyBound() != c.bound {
			t.Errorf("%+v: %v", c.e.TokenType, !c.bound)
		}
	}
	own, family := Entry{Section: SectionRefreshToken, ClientID: "c"},
		Entry{Section: SectionRefreshToken, ClientID: "c", FamilyID: "1"}
	if !own.RefreshesFor("c") || own.RefreshesFor("d") || !family.RefreshesFor("d") ||
		(Entry{Section: SectionIDToken, ClientID: "c"}).RefreshesFor("c") {
		t.Error("the wrong refresh tokens")
	}
}

func TestRemovedAccounts(t *testing.T) {
	got := RemovedAccounts([]Entry{{HomeAccountID: "u"}, {}, {HomeAccountID: "v"}, {HomeAccountID: "u"}})
	if !slices.Equal(got, []string{"u", "v"}) {
		t.Error(got)
	}
}

// What MSAL may read has more than its last minutes, is not of the future, and is superseded by nothing.
func TestReadable(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	at := func(key, target string, cached, expires time.Duration) Entry {
		return mustEntry(t, SectionAccessToken, key, `{"secret":"`+key+`","target":"`+target+`","cached_at":"`+
			decimal(now.Add(cached).Unix())+`","expires_on":"`+decimal(now.Add(expires).Unix())+`"}`)
	}
	entries := []Entry{
		at("spent", "a", 0, LastMinutes), at("short", "b", 0, LastMinutes+time.Second),
		at("long", "c", time.Minute, time.Hour), at("longer", "C", 0, 2*time.Hour), at("ahead", "d", time.Minute, time.Hour),
		{Section: SectionAccount, Key: "A"},
	}
	got := Readable(entries, now)
	var keys []string
	for _, e := range got {
		keys = append(keys, e.Key)
		if e.CachedAt > now.Unix() {
			t.Errorf("%s is of the future", e.Key)
		}
	}
	if !slices.Equal(keys, []string{"short", "longer", "ahead", "a"}) {
		t.Error(keys)
	}
	if left := UntilSpent(got, now); left != time.Second {
		t.Errorf("the first is spent in %v", left)
	}
	if left := UntilSpent(nil, now); left < 24*time.Hour {
		t.Errorf("nothing is spent in %v", left)
	}
}

func TestAppMetadata(t *testing.T) {
	token := Entry{Section: SectionAccessToken, ClientID: "C", Environment: "e"}
	family := mustEntry(t, SectionAppMetadata, "appmetadata-e-d", `{"client_id":"d","environment":"e","family_id":"1"}`)
	got := WithAppMetadata([]Entry{token, token, family, {Section: SectionIDToken, ClientID: "d", Environment: "e"}},
		[]Entry{token, {Section: SectionIDToken, ClientID: "f", Environment: "e"}})
	var keys []string
	for _, e := range got[4:] {
		keys = append(keys, e.Key)
		if !IsPlainMetadata(e) {
			t.Errorf("%s says more", e.Raw)
		}
	}
	if !slices.Equal(keys, []string{"appmetadata-e-c", "appmetadata-e-f"}) || IsPlainMetadata(family) {
		t.Error(keys)
	}
}

// The entries are those that MSAL makes: their keys, and what they say.
func TestIssuedEntries(t *testing.T) {
	all := Issued{HomeAccountID: "U.t", Environment: "e", Realm: "t", ClientID: "c", AccessToken: "at",
		TokenType: "Bearer", Target: "A b", CachedAt: 1, ExpiresOn: 2, ExtendedExpiresOn: 3, RefreshOn: 4,
		RefreshToken: "rt", IDToken: "it"}
	entries := all.Entries()
	want := []Entry{
		mustEntry(t, SectionRefreshToken, "u.t-e-refreshtoken-c",
			`{"home_account_id":"U.t","environment":"e","credential_type":"RefreshToken","client_id":"c","secret":"rt"}`),
		mustEntry(t, SectionAccessToken, "u.t-e-accesstoken-c-t-a b",
			`{"home_account_id":"U.t","environment":"e","realm":"t","credential_type":"AccessToken","client_id":"c",`+
				`"secret":"at","target":"A b",`+
				`"refresh_on":"4","expires_on":"2","extended_expires_on":"3","cached_at":"1","token_type":"Bearer"}`),
		mustEntry(t, SectionIDToken, "u.t-e-idtoken-c-t",
			`{"home_account_id":"U.t","environment":"e","realm":"t","credential_type":"IdToken","client_id":"c","secret":"it"}`),
	}
	if !slices.EqualFunc(entries, want, Entry.Equal) {
		t.Errorf("%q, want %q", Assemble(entries), Assemble(want))
	}
	all.FamilyID, all.RefreshOn, all.IDToken = "1", 0, ""
	entries = all.Entries()
	if len(entries) != 2 || entries[0].Key != "u.t-e-refreshtoken-1" || entries[0].FamilyID != "1" ||
		entries[1].RefreshOn != 0 {
		t.Errorf("%q", Assemble(entries))
	}
}
