package msaldoc

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustEntry(t testing.TB, section, key, raw string) Entry {
	t.Helper()
	e, err := NewEntry(section, key, []byte(raw))
	if err != nil {
		t.Fatalf("NewEntry(%q): %v", raw, err)
	}
	return e
}

func TestEntryFields(t *testing.T) {
	e := mustEntry(t, SectionAccessToken, "k", `{"home_account_id":"h","environment":"e","client_id":"c","realm":"r",
		"target":"a b","secret":"s","family_id":"f","token_type":"Bearer","keyid":"kid","ext_cache_key":"x",
		"cached_at":"1","expires_on":2,"extended_expires_on":"3.9","refresh_on":"4"}`)
	want := []string{"h", "e", "c", "r", "a b", "s", "f", "Bearer", "kid", "x"}
	got := []string{e.HomeAccountID, e.Environment, e.ClientID, e.Realm, e.Target, e.Secret, e.FamilyID, e.TokenType,
		e.KeyID, e.ExtCacheKey}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4},
		[]int64{e.CachedAt, e.ExpiresOn, e.ExtendedExpiresOn, e.RefreshOn}); diff != "" {
		t.Error(diff)
	}
	for _, none := range []string{`"1e30"`, `-99999999999999999999`, `"Inf"`, `"NaN"`, `"-62135596800"`, `true`, `"1_0"`} {
		if e := mustEntry(t, SectionAccessToken, "k", `{"secret":"s","expires_on":`+none+`}`); e.ExpiresOn != 0 ||
			string(e.Raw) != `{"secret":"s"}` {
			t.Errorf("%s is %d: %s", none, e.ExpiresOn, e.Raw)
		}
	}
	// What other MSALs keep in a refresh token is read too, and left as it is.
	raw := `{"secret":"s","expires_on":7,"cached_at":null}`
	if e = mustEntry(t, SectionRefreshToken, "k", raw); e.ExpiresOn != 7 || e.CachedAt != 0 || string(e.Raw) != raw {
		t.Errorf("%d %d %s", e.ExpiresOn, e.CachedAt, e.Raw)
	}
	if e.Place() != (Place{SectionRefreshToken, "k"}) {
		t.Errorf("%q", e.Place())
	}
}

func TestRawIsKeptByteForByte(t *testing.T) {
	raw := `{ "x" : 1.50 , "secret":"\u0041", "expires_on": 5,"y":"\ud800"}`
	if e := mustEntry(t, SectionAccessToken, "k", " "+raw+"\n"); string(e.Raw) != raw {
		t.Errorf("%s", e.Raw)
	}
	doc := []byte(`{"AccessToken":{"k":` + raw + `}}`)
	if e := mustParse(t, doc)[0]; string(e.Raw) != raw {
		t.Errorf("%s", e.Raw)
	}
	// Only the member at fault is touched.
	e := mustEntry(t, SectionAccessToken, "k", `{ "x" : 1.50,"refresh_on":null,"secret":"\u0041","cached_at":1.5}`)
	if string(e.Raw) != `{"x":1.50,"secret":"\u0041","cached_at":"1"}` {
		t.Errorf("%s", e.Raw)
	}
}

func TestNewEntryRefuses(t *testing.T) {
	deep := func(n int) string { return `{"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}` }
	mustEntry(t, SectionAccount, "k", deep(maxEntryDepth))
	mustEntry(t, "X", "", `{"x":5}`)
	for _, c := range []struct{ section, key, raw string }{
		{SectionAccount, "k", ""},
		{SectionAccount, "k", "null"},
		{SectionAccount, "", "5"},
		{SectionAccount, "k", "[]"},
		{SectionAccount, "k", `"{}"`},
		{SectionAccount, "k", "{}"},
		{SectionAccount, "k", `{"realm":""}`},
		{SectionAccount, "k", `{"realm":"r"}{}`},
		{SectionAccount, "k", `{"realm":"r"`},
		{SectionAccount, "k", deep(maxEntryDepth + 1)},
		{SectionAccount, "k", strings.Repeat("[", 10_000_000)},
		{"X", "k", "5"},
		{"X", "", "[5]"},
		{"X", "", ""},
		{"X", "", "5,"},
		{"Accounts", "k", `{"a":1}`},
		{"AdditionalFields", "", `{"AccessToken":5}`},
	} {
		if e, err := NewEntry(c.section, c.key, []byte(c.raw)); !errors.Is(err, ErrEntry) {
			t.Errorf("%s %.40q: %v %v", c.section, c.raw, e, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, doc := range []string{"null", "5", "[]", `"x"`, "{", "}", "{}{}", `{"AccessToken":}`, "\xff", `{"a":1,}`,
		`{"\x4":1}`, `{"\x4g":1}`, strings.Repeat("[", 20_000_000), strings.Repeat(`{"a":`, 1_000_000),
		`{"x":` + strings.Repeat("[", 512) + strings.Repeat("]", 512) + "}"} {
		start := time.Now()
		if e, err := Parse([]byte(doc)); !errors.Is(err, ErrDocument) || e != nil {
			t.Errorf("%.40q: %v", doc, err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%.40q took %v", doc, d)
		}
	}
	for _, doc := range []string{"", " \n", "{}"} {
		if e, err := Parse([]byte(doc)); err != nil || len(e) != 0 {
			t.Errorf("%q: %v %v", doc, e, err)
		}
	}
}

// Documents made to be slow: time must grow with size and not with its square.
func TestHostileDocumentsAreLinear(t *testing.T) {
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			if strings.Contains(format, "%d") {
				fmt.Fprintf(&b, format, i)
			} else {
				b.WriteString(format)
			}
		}
		return b.String()
	}
	nested := `{"x":` + strings.Repeat(`{"a":`, 500) + `1` + strings.Repeat(`}`, 500) + `}`
	for name, doc := range map[string]string{
		"many entries":            `{"Account":{` + repeat(20_000, `"k%d":{"realm":"r"}`) + `}}`,
		"one key":                 `{"Account":{` + repeat(20_000, `"k":{"realm":"r"}`) + `}}`,
		"one section, many times": `{` + repeat(20_000, `"Account":{"k%d":{"realm":"r"}}`) + `}`,
		"unknown section, many":   `{` + repeat(20_000, `"X":{"k%d":{"realm":"r"}}`) + `}`,
		"many sections":           `{` + repeat(20_000, `"X%d":{"k":{"realm":"r"}}`) + `}`,
		"many members":            `{"Account":{"k":{` + repeat(20_000, `"m%d":1`) + `}}}`,
		"one member":              `{"Account":{"k":{` + repeat(20_000, `"realm":"r"`) + `}}}`,
		"deep entries":            `{"Account":{` + repeat(200, `"k%d":`+nested) + `}}`,
		"brackets in text":        `{"Account":{"k":{"realm":"` + strings.Repeat("[", 1_000_000) + `"}}}`,
		"backslashes":             `{"Account":{"k":{"realm":"` + strings.Repeat(`\\`, 500_000) + `"}}}`,
		"a long time":             `{"AccessToken":{"k":{"secret":"s","expires_on":"` + strings.Repeat(`9`, 500_000) + `"}}}`,
	} {
		start := time.Now()
		entries := mustParse(t, []byte(doc))
		again := mustParse(t, Assemble(entries))
		if changed, removed := Diff(entries, again); len(changed)+len(removed) > 0 {
			t.Errorf("%s: %d changed, %d removed", name, len(changed), len(removed))
		}
		for i := range again { // the slow way to compare
			again[i].Raw = append([]byte(" "), again[i].Raw...)
			again[i] = again[i].Clone()
		}
		Diff(entries, again)
		if d := time.Since(start); d > 15*time.Second { // each takes well under one
			t.Errorf("%s took %v", name, d)
		}
	}
}

// Every entry that Parse gives, NewEntry takes, however deep.
func TestDepthIsTheSameEverywhere(t *testing.T) {
	for n := 505; n <= 511; n++ {
		value := `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
		got, parsed := Parse([]byte(`{"X":{"k":` + value + `},"Y":{"k":{"a":1}}}`))
		_, err := NewEntry("X", "k", []byte(value))
		if (err == nil) != (parsed == nil && len(got) == 2) || (err == nil) != (n <= maxEntryDepth) {
			t.Errorf("%d levels: %d entries, %v, %v", n, len(got), parsed, err)
		}
	}
}

func TestNamesAreValidUTF8(t *testing.T) {
	e := mustEntry(t, SectionAccount, "\xff\xfe", `{"realm":"r"}`)
	if got := mustParse(t, Assemble([]Entry{e})); len(got) != 1 || got[0].Place() != e.Place() || e.Key != "\ufffd\ufffd" {
		t.Errorf("%q", e.Key)
	}
	if e = mustEntry(t, "X\xff", "k", `{"realm":"r"}`); e.Section != "X\ufffd" {
		t.Errorf("%q", e.Section)
	}
}

// MSAL writes names with %q, which is not JSON: also of scopes that are not UTF-8.
func TestNamesQuotedByGo(t *testing.T) {
	for _, name := range []string{"a\xff\x01", "\a\v\x7f\x80", "\U000e0001 \\x41 \"", "é\u00a0\u2028"} {
		got := mustParse(t, fmt.Appendf(nil, `{"Account":{%q:{"realm":"r"}}}`, name))
		if len(got) != 1 || got[0].Key != validUTF8(name) {
			t.Errorf("%q became %q", name, got[0].Key)
		}
	}
}

func TestParseIsSorted(t *testing.T) {
	doc := `{"Z":{"":{"a":1}},"AppMetadata":{"b":{"client_id":"c"},"a":{"client_id":"c"}},"Account":{"b":{"realm":"r"},` +
		`"a":{"realm":"r"}},"M":{"k":{"a":1}},"AccessToken":{"k":` + goodToken + `}}`
	var got []string
	for _, e := range mustParse(t, []byte(doc)) {
		got = append(got, e.Section+"/"+e.Key)
	}
	want := []string{"AccessToken/k", "Account/a", "Account/b", "AppMetadata/a", "AppMetadata/b", "M/k", "Z/"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDiff(t *testing.T) {
	old := mustParse(t, []byte(`{"Account":{"same":{"realm":"r","x":{"a":1,"b":[1,2]}},"changed":{"realm":"r"},`+
		`"gone":{"realm":"r"}},"X":{"k":{"a":[1, 2]}}}`))
	now := mustParse(t, []byte(`{"X":{"k":{"a":[1,2]}},"Account":{"new":{"realm":"r"},"changed":{"realm":"q"},`+
		`"same":{"x":{"b":[1, 2],"a":1}, "realm":"\u0072","username":""}}}`))
	changed, removed := Diff(old, now)
	keys := func(entries []Entry) (out []string) {
		for _, e := range entries {
			out = append(out, e.Key)
		}
		return out
	}
	if diff := cmp.Diff([]string{"changed", "new"}, keys(changed)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"gone"}, keys(removed)); diff != "" {
		t.Error(diff)
	}
	// Of several entries with one ID the last counts, on both sides.
	a, b := mustEntry(t, SectionAccount, "k", `{"realm":"a"}`), mustEntry(t, SectionAccount, "k", `{"realm":"b"}`)
	if changed, removed := Diff([]Entry{a, b}, []Entry{a, b}); len(changed)+len(removed) != 0 {
		t.Error("equal lists differ")
	}
	if changed, removed := Diff([]Entry{b}, []Entry{b, a}); len(changed) != 1 || !changed[0].Equal(a) ||
		len(removed) != 0 {
		t.Error("the last does not count")
	}
	if changed, removed := Diff([]Entry{a, b}, nil); len(changed) != 0 || len(removed) != 1 || !removed[0].Equal(b) {
		t.Error("removed twice")
	}
}

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		section, a, b string
		equal         bool
	}{
		{SectionAccessToken, `{"secret":"s","expires_on":"5"}`, `{"expires_on":5,"secret":"\u0073"}`, true},
		{SectionAccessToken, `{"secret":"s","expires_on":"5"}`, `{"secret":"s","expires_on":"005"}`, true},
		{SectionAccessToken, `{"secret":"s","realm":""}`, `{"realm":null,"secret":"s"}`, true},
		{SectionAccessToken, `{"secret":"s","refresh_on":""}`, `{"secret":"s"}`, true},
		{SectionAccessToken, `{"secret":"s","refresh_on":"0"}`, `{"secret":"s"}`, false},
		{SectionAccessToken, `{"secret":"s","expires_on":"5"}`, `{"secret":"s","expires_on":"6"}`, false},
		{SectionAccessToken, `{"secret":"s"}`, `{"secret":"S"}`, false},
		{SectionAccessToken, `{"secret":"s","x":1}`, `{"secret":"s"}`, false},
		{SectionAccessToken, `{"secret":"s","x":1}`, `{"secret":"s","y":1}`, false},
		{SectionAccessToken, `{"secret":"s","x":null}`, `{"secret":"s"}`, false},
		{SectionAccessToken, `{"secret":"s","x":1}`, `{"secret":"s","x":1.0}`, false},
		{SectionAccessToken, `{"secret":"s","x":{"a":1,"b":2}}`, `{"x":{"b":2, "a":1},"secret":"s"}`, true},
		{SectionAccessToken, `{"secret":"s","x":[1,2]}`, `{"secret":"s","x":[2,1]}`, false},
		{SectionAccessToken, `{"secret":"a","secret":"b"}`, `{"secret":"b"}`, true},
		{SectionAccessToken, `{"secret":"s","realm":"r","realm":""}`, `{"secret":"s"}`, true},
		// unknown there: MSAL keeps it as it is
		{SectionRefreshToken, `{"secret":"s","expires_on":"5"}`, `{"secret":"s","expires_on":5}`, false},
		{"X", `{"a":1,"b":2}`, `{"b":2,"a":1}`, true},
		{"X", `{"secret":""}`, `{"a":1}`, false},
	} {
		a, b := mustEntry(t, c.section, "k", c.a), mustEntry(t, c.section, "k", c.b)
		if a.Equal(b) != c.equal || b.Equal(a) != c.equal {
			t.Errorf("%s %s %s: want %v", c.section, c.a, c.b, c.equal)
		}
	}
	a := mustEntry(t, SectionAccount, "k", `{"realm":"r"}`)
	if a.Equal(mustEntry(t, SectionAccount, "l", `{"realm":"r"}`)) ||
		a.Equal(mustEntry(t, SectionIDToken, "k", `{"realm":"r"}`)) {
		t.Error("entries of another ID are equal")
	}
	for _, raw := range []string{"", "5", "{", `{"realm":5}`} { // made by hand: no panic, and equal only to itself
		hand := Entry{Section: SectionAccount, Key: "k", Raw: []byte(raw)}
		if hand.Equal(a) || a.Equal(hand) || !hand.Equal(hand) {
			t.Errorf("%q", raw)
		}
		hand.WithTimes(5)
		hand.Clone()
	}
}

func TestWithTimes(t *testing.T) {
	e := mustEntry(t, SectionAccessToken, "k",
		`{ "expires_on":"100", "x":"100","cached_at": 50,"secret":"\u0041","refresh_on":"0","extended_expires_on":"99" ,`+
			`"y":{"expires_on":"1"}}`)
	later := e.WithTimes(1000)
	if want := `{ "expires_on":"1100", "x":"100","cached_at": 1050,"secret":"\u0041","refresh_on":"0",` +
		`"extended_expires_on":"1099" ,"y":{"expires_on":"1"}}`; string(later.Raw) != want {
		t.Errorf("%s", later.Raw)
	}
	if later.ExpiresOn != 1100 || later.CachedAt != 1050 || later.ExtendedExpiresOn != 1099 || later.RefreshOn != 0 ||
		e.ExpiresOn != 100 {
		t.Error("the fields do not follow")
	}
	if back := later.WithTimes(-1000); string(back.Raw) != string(e.Raw) {
		t.Errorf("%s", back.Raw)
	}
	if same := e.WithTimes(0); &same.Raw[0] != &e.Raw[0] {
		t.Error("an offset of 0 copies")
	}
	// The edges, where adding would overflow or make a time that means none.
	for _, c := range []struct {
		raw    string
		offset int64
	}{
		{`{"secret":"s","expires_on":"9223372036854775807"}`, 1},
		{`{"secret":"s","expires_on":"-9223372036854775808"}`, -1},
		{`{"secret":"s","expires_on":"5"}`, -5},
		{`{"secret":"s","expires_on":"-62135596801"}`, 1},
		{`{"secret":"s"}`, 7},
	} {
		e := mustEntry(t, SectionAccessToken, "k", c.raw)
		if got := e.WithTimes(c.offset); string(got.Raw) != c.raw {
			t.Errorf("%s moved to %s", c.raw, got.Raw)
		}
	}
	// What is no time in a section MSAL does not read stays what it is.
	raw := `{"secret":"s","expires_on":{"expires_on":"5"},"cached_at":"soon","refresh_on":1.5}`
	if got := mustEntry(t, SectionRefreshToken, "k", raw).WithTimes(9); string(got.Raw) != raw {
		t.Errorf("%s", got.Raw)
	}
	if got := mustEntry(t, SectionRefreshToken, "k", `{"expires_on":"5"}`).WithTimes(9); got.ExpiresOn != 14 {
		t.Errorf("%d", got.ExpiresOn)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	doc := []byte(`{"AccessToken":{"k":` + goodToken + `}}`)
	e := mustParse(t, doc)[0]
	c := e.Clone()
	want := string(e.Raw)
	clear(doc)
	if string(c.Raw) != want || c.Secret != "s3cret" {
		t.Error("the clone changed with the document")
	}
	if e.Secret != "s3cret" { // the fields survive what must not happen
		t.Error("a field changed with the document")
	}
}

// Assemble's order of arguments does not matter to the document's contents.
func TestAssembleInAnyOrder(t *testing.T) {
	entries := mustParse(t, []byte(`{"AccessToken":{"a":`+goodToken+`,"b":`+goodToken+`},"Account":{"a":{"realm":"r"}},`+
		`"X":{"k":{"a":1},"l":{"b":2}},"Y":{"k":{"a":[5]}},"":{"":{"a":0}}}`))
	for range 50 {
		mixed := slices.Clone(entries)
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		doc := Assemble(mixed)
		if !json.Valid(doc) {
			t.Fatalf("%s", doc)
		}
		if got := mustParse(t, doc); !slices.EqualFunc(got, entries, Entry.Equal) {
			t.Fatalf("%s", doc)
		}
	}
}

// Our validity is encoding/json's, but for the depth.
func TestValidAgreesWithEncodingJSON(t *testing.T) {
	for _, c := range unusual {
		for n := range len(c.doc) + 1 {
			if b := []byte(c.doc[:n]); valid(b, maxDepth) != json.Valid(b) {
				t.Errorf("%q", b)
			}
		}
	}
}
