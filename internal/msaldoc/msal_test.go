package msaldoc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// realManager returns MSAL's own cache manager, as an accessor gets to see it.
func realManager(t testing.TB) cache.Serializer {
	t.Helper()
	cred, err := confidential.NewCredFromSecret("secret")
	if err != nil {
		t.Fatal(err)
	}
	var c capture
	client, err := confidential.New("https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111", "client",
		cred, confidential.WithCache(&c), confidential.WithHTTPClient(noNetwork{}), confidential.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = client.AcquireTokenByCredential(context.Background(), []string{"s"}) // fails; Replace comes before
	if c.manager == nil {
		t.Fatal("MSAL did not show its manager to the accessor")
	}
	return c.manager
}

type capture struct{ manager cache.Serializer }

func (c *capture) Replace(_ context.Context, u cache.Unmarshaler, _ cache.ReplaceHints) error {
	c.manager, _ = u.(cache.Serializer)
	return errors.New("seen enough")
}
func (c *capture) Export(context.Context, cache.Marshaler, cache.ExportHints) error { return nil }

type noNetwork struct{}

func (noNetwork) Do(*http.Request) (*http.Response, error) { return nil, errors.New("no network") }
func (noNetwork) CloseIdleConnections()                    {}

// through hands a document to MSAL and returns what MSAL makes of it.
func through(t testing.TB, m cache.Serializer, doc []byte) []byte {
	t.Helper()
	if err := m.Unmarshal(doc); err != nil {
		t.Fatalf("MSAL refuses the document: %v\n%s", err, doc)
	}
	out, err := m.Marshal()
	if err != nil {
		t.Fatalf("MSAL cannot write the document: %v\n%s", err, doc)
	}
	return out
}

func mustParse(t testing.TB, doc []byte) []Entry {
	t.Helper()
	entries, err := Parse(doc)
	if err != nil {
		t.Fatalf("Parse: %v\n%q", err, doc)
	}
	return entries
}

// fixedPoint is the promise between this package and MSAL: what Assemble makes,
// MSAL reads, and what MSAL then writes has not changed.
func fixedPoint(t testing.TB, m cache.Serializer, doc []byte) []Entry {
	t.Helper()
	before := mustParse(t, doc)
	assembled := Assemble(before)
	after := mustParse(t, through(t, m, assembled))
	if changed, removed := Diff(before, after); len(changed)+len(removed) > 0 {
		t.Fatalf("after MSAL %d changed, %d removed\ngiven     %q\nassembled %q\nafter     %q",
			len(changed), len(removed), doc, assembled, Assemble(after))
	}
	if again := mustParse(t, assembled); len(again) != len(before) {
		t.Fatalf("assembled from %d entries, parsed %d\n%q", len(before), len(again), assembled)
	}
	return before
}

const goodToken = `{"home_account_id":"u.t","environment":"login.microsoftonline.com","realm":"t",` +
	`"credential_type":"AccessToken","client_id":"c","secret":"s3cret","target":"a b","refresh_on":"1700001800",` +
	`"expires_on":"1700003600","extended_expires_on":"1700003600","cached_at":"1700000000","token_type":"Bearer"}`

// unusual are documents at the edge of what MSAL reads. keep is how many entries must be left of each.
var unusual = []struct {
	name string
	doc  string
	keep int
}{
	{"empty object", `{}`, 0},
	{"empty sections, as MSAL writes them",
		`{"AccessToken":{},"RefreshToken":{},"IdToken":{},"Account":{},"AppMetadata":{}}`, 0},
	{"sections that are null", `{"AccessToken":null,"Account":null}`, 0},
	{"white space", " {\n \"AccessToken\" : {\t\"k\" : { \"secret\" : \"x\" , \"expires_on\" : 5 } } } \r\n", 1},
	{"refresh_on null", `{"AccessToken":{"bad":{"secret":"x","refresh_on":null},"good":` + goodToken + `}}`, 2},
	{"refresh_on empty", `{"AccessToken":{"bad":{"secret":"x","refresh_on":""},"good":` + goodToken + `}}`, 2},
	{"refresh_on decimal", `{"AccessToken":{"bad":{"secret":"x","refresh_on":1700000000.75},"good":` + goodToken + `}}`,
		2},
	{"refresh_on decimal text", `{"AccessToken":{"bad":{"secret":"x","refresh_on":"1.5"},"good":` + goodToken + `}}`, 2},
	{"refresh_on garbage", `{"AccessToken":{"bad":{"secret":"x","refresh_on":"soon"},"good":` + goodToken + `}}`, 2},
	{"refresh_on object", `{"AccessToken":{"bad":{"secret":"x","refresh_on":{"a":[1]}},"good":` + goodToken + `}}`, 2},
	{"refresh_on escaped", `{"AccessToken":{"bad":{"secret":"x","refresh_on":"\u0035"},"good":` + goodToken + `}}`, 2},
	{"refresh_on of the year 1", `{"AccessToken":{"bad":{"secret":"x","refresh_on":"-62135596800"},` +
		`"good":` + goodToken + `}}`, 2},
	{"refresh_on huge", `{"AccessToken":{"bad":{"secret":"x","refresh_on":"99999999999999999999"},` +
		`"good":` + goodToken + `}}`, 2},
	{"times 0 and numbers", `{"AccessToken":{"k":{"secret":"x","refresh_on":"0","expires_on":1700000000,` +
		`"cached_at":"-5","extended_expires_on":"007"}}}`, 1},
	{"times in exponents", `{"AccessToken":{"k":{"secret":"x","expires_on":1.7e9,"cached_at":"+5"}}}`, 1},
	{"a time in quotes twice", `{"AccessToken":{"k":{"secret":"x","expires_on":"\"5\""}}}`, 1},
	{"text that is a number", `{"AccessToken":{"bad":{"secret":5,"realm":"r"},"good":` + goodToken + `}}`, 2},
	{"text that is an object", `{"Account":{"bad":{"username":{},"realm":"r"},"good":{"realm":"q"}}}`, 2},
	{"text that is null", `{"Account":{"k":{"username":null,"realm":"r"}}}`, 1},
	{"text that is empty", `{"Account":{"k":{"username":"","realm":"r"}}}`, 1},
	{"an empty entry", `{"Account":{"bad":{},"good":{"realm":"q"}}}`, 1},
	{"an entry with nothing in it", `{"Account":{"bad":{"username":"","realm":null},"good":{"realm":"q"}}}`, 1},
	{"an entry emptied by its own duplicate", `{"Account":{"bad":{"realm":"r","realm":""},"good":{"realm":"q"}}}`, 1},
	{"an entry emptied by the repair", `{"Account":{"bad":{"username":5},"good":{"realm":"q"}}}`, 1},
	{"an entry with an unknown null only", `{"Account":{"k":{"x":null}}}`, 1},
	{"an entry that is null", `{"Account":{"bad":null,"good":{"realm":"q"}}}`, 1},
	{"an entry that is an array", `{"Account":{"bad":[{}],"good":{"realm":"q"}}}`, 1},
	{"a section that is a number", `{"Account":5,"AppMetadata":{"good":{"client_id":"c"}}}`, 1},
	{"a section that is an array", `{"AccessToken":[{}],"AppMetadata":{"good":{"client_id":"c"}}}`, 1},
	{"Go field names in an entry", `{"AccessToken":{"bad":{"Secret":5,"AdditionalFields":7,"ExpiresOn":"x",` +
		`"secret":"s"}}}`, 1},
	{"Go field names that MSAL takes", `{"AccessToken":{"k":{"Secret":"a","AdditionalFields":{"q":1},"realm":"r"}}}`, 1},
	{"Go field names as sections", `{"Accounts":{"a":{"realm":"r"}},"AccessTokens":5,` +
		`"AdditionalFields":{"AccessToken":5},"AppMetadata":{"good":{"client_id":"c"}}}`, 1},
	{"unknown members", `{"AccessToken":{"k":{"zeta":{"b":1,"a":[1,2,{"c":null}]},"secret":"x","alpha":1.50,` +
		`"beta":"<&>","é":"\u00e9"}}}`, 1},
	{"members of another section", `{"RefreshToken":{"k":{"secret":"x","expires_on":null,"cached_at":"",` +
		`"last_modification_time":"1"}},"AccessToken":{"k":{"secret":"x","family_id":7}}}`, 2},
	// Z's two, and one of W: what is no object in a section is nobody's
	{"unknown sections", `{"X":5,"Y":[1,{"a":"b"}],"Z":{"k":{"a":1},"l":{}},"W":{"a":{},"b":5},"V":{},"U":"text",` +
		`"N":null,"T":true}`, 3},
	{"unknown section with an empty key", `{"X":{"":{"a":1},"b":{}}}`, 2},
	{"a section without a name", `{"":{"a":{"b":5}}}`, 1},
	{"an entry without a name", `{"Account":{"":{"realm":"q"}}}`, 1},
	{"duplicate entries", `{"Account":{"k":{"realm":"old"},"k":{"realm":"new"}}}`, 1},
	{"duplicate sections", `{"Account":{"a":{"realm":"old"}},"Account":{"b":{"realm":"new"}},"X":{"a":{"b":1}},` +
		`"X":{"c":{"d":2}}}`, 2},
	{"duplicate members", `{"AccessToken":{"k":{"secret":"old","secret":"new","secret":null,"x":1,"x":null,` +
		`"expires_on":"1","expires_on":"2"}}}`, 1},
	{"control characters in names", `{"Account":{"a\u0001\u0007\u000b\u007f\n\"\\\u2028":{"realm":"q","m\u0002":1}},` +
		`"S\u0003":{"k":{"a":1}}}`, 2},
	{"backslashes in names", `{"Account":{"a\\\\x41\\\\\u0001\\\\a":{"realm":"q"}}}`, 1},
	{"wide characters in names", `{"Account":{"\ud83d\ude00 \udb40\udc01 \ud800":{"realm":"q"}}}`, 1},
	{"not UTF-8", "{\"Account\":{\"a\xff\":{\"realm\":\"q\xfe\xfe\",\"x\xff\":\"y\xff\"}}}", 1},
	{"half surrogates", `{"Account":{"k":{"realm":"\ud800","username":"\ud800\u0041","x":"\udc00"}}}`, 1},
	{"braces and quotes in text", `{"Account":{"}{\"":{"realm":"}]\\\"{[","x":"}}}"}}}`, 1},
	{"MSAL's entry, unknown member first", `{"AccessToken":{"k":{"x":1,` + goodToken[1:] + `}}`, 1},
}

func TestMSALFixedPoint(t *testing.T) {
	m := realManager(t)
	for _, c := range unusual {
		t.Run(c.name, func(t *testing.T) {
			if got := fixedPoint(t, m, []byte(c.doc)); len(got) != c.keep {
				t.Errorf("%d entries, want %d: %q", len(got), c.keep, Assemble(got))
			}
		})
	}
}

// The lines of the comment in msal.go, held to the real thing. When a later
// version of MSAL fails this test, the repair it stands for may go.
func TestMSALNeedsEachRepair(t *testing.T) {
	m := realManager(t)
	for _, doc := range []string{
		`{"AccessToken":{"k":{"secret":5}}}`,
		`{"AccessToken":{"k":{"secret":"x","refresh_on":null}}}`,
		`{"AccessToken":{"k":{"secret":"x","refresh_on":""}}}`,
		`{"AccessToken":{"k":{"secret":"x","refresh_on":1.5}}}`,
		`{"AccessToken":{"k":{"secret":"x","refresh_on":"\u0035"}}}`,
		`{"AccessToken":{"k":null}}`,
		`{"AccessToken":5}`,
		`{"AccessToken":{"k":{"Secret":5}}}`,
		`{"AccessToken":{"k":{"AdditionalFields":5}}}`,
		`{"Accounts":5}`,
	} {
		if err := m.Unmarshal([]byte(doc)); err == nil {
			t.Errorf("MSAL now reads %s", doc)
		}
	}
	for _, doc := range []string{
		`{"AccessToken":{"k":{}}}`,
		`{"AccessToken":{"k":{"secret":""}}}`,
		`{"AccessToken":{"k":{"secret":"x","refresh_on":"-62135596800"}}}`,
		`{"AccessToken":{"k\u0001":{"secret":"x"}}}`,
	} {
		if valid(through(t, m, []byte(doc)), maxDepth) {
			t.Errorf("MSAL now writes JSON for %s", doc)
		}
	}
}

// A document that MSAL reads holds the same entries for us as for MSAL.
func TestParseReadsWhatMSALReads(t *testing.T) {
	m := realManager(t)
	read := 0
	for _, c := range unusual {
		if m.Unmarshal([]byte(c.doc)) != nil || strings.Contains(c.name, "Go field") {
			continue // MSAL refuses it, or takes from it what we leave out on purpose
		}
		out, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		after, err := Parse(out)
		if err != nil {
			continue // MSAL writes what nobody can read: the lone "}"
		}
		read++
		if changed, removed := Diff(mustParse(t, []byte(c.doc)), after); len(changed)+len(removed) > 0 {
			t.Errorf("%s: %d changed, %d removed; MSAL: %s", c.name, len(changed), len(removed), out)
		}
	}
	if read < 20 {
		t.Errorf("only %d documents were compared", read)
	}
}

// Entries that were made by hand, or badly, never cost the others.
func TestAssembleIsAlwaysAcceptedByMSAL(t *testing.T) {
	m := realManager(t)
	good, err := NewEntry(SectionAccessToken, "good", []byte(goodToken))
	if err != nil {
		t.Fatal(err)
	}
	bad := []Entry{
		{},
		{Section: SectionAccessToken, Key: "a"},
		{Section: SectionAccessToken, Key: "b", Raw: []byte(`{"secret":`)},
		{Section: SectionAccessToken, Key: "c", Raw: []byte(`{"secret":"x","refresh_on":null}`)},
		{Section: SectionAccessToken, Key: "d", Raw: []byte(`5`)},
		{Section: SectionAccount, Key: "e", Raw: []byte(`{}`)},
		{Section: "Accounts", Key: "f", Raw: []byte(`{}`)},
		{Section: "X", Key: "", Raw: []byte(`},"AccessToken":{}`)},
		{Section: "Y\xff\"", Key: "\x00\"", Raw: []byte(`{"a":1}`)},
		{Section: "Z", Key: "", Raw: []byte(`5`)},
		{Section: "Z", Key: "part", Raw: []byte(`{"a":1}`)},
	}
	for i := range len(bad) + 1 {
		entries := append(append(append([]Entry{}, bad[:i]...), good), bad[i:]...)
		got := mustParse(t, through(t, m, Assemble(entries)))
		found := false
		for _, e := range got {
			found = found || e.Equal(good)
		}
		if !found || len(got) != 4 { // good, c repaired, Y, Z's part
			t.Fatalf("%d entries came through, good one: %v\n%s", len(got), found, Assemble(entries))
		}
	}
}

func TestAssembleOfNothingEmptiesTheManager(t *testing.T) {
	m := realManager(t)
	through(t, m, []byte(`{"AccessToken":{"k":`+goodToken+`}}`))
	if got := Assemble(nil); string(got) != "{}" {
		t.Fatalf("Assemble(nil) = %s", got)
	}
	if left := mustParse(t, through(t, m, Assemble(nil))); len(left) != 0 {
		t.Fatalf("%d entries left", len(left))
	}
}

// FuzzDocument holds every document, however odd, to the fixed point with the real manager.
func FuzzDocument(f *testing.F) {
	addSeeds(f)
	m := realManager(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		if valid(doc, maxDepth) != json.Valid(doc) && depth(doc) <= maxDepth {
			t.Fatal("validity differs from encoding/json's")
		}
		if _, err := Parse(doc); err != nil {
			if !errors.Is(err, ErrDocument) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		for _, e := range fixedPoint(t, m, doc) {
			there, err := NewEntry(e.Section, e.Key, e.Raw)
			if err != nil || string(there.Raw) != string(e.Raw) {
				t.Fatalf("an entry changes when it is read again: %v", err)
			}
			if c := e.Clone(); !c.Equal(e) || string(c.Raw) != string(e.Raw) {
				t.Fatal("a clone differs")
			}
			if moved := e.WithTimes(77); moved.Place() != e.Place() || len(mustParse(t, Assemble([]Entry{moved}))) != 1 {
				t.Fatal("an entry with other times is no entry")
			}
		}
	})
}

// addSeeds gives a fuzz target the unusual documents. Those found by fuzzing are in testdata/fuzz.
func addSeeds(f *testing.F) {
	for _, c := range unusual {
		f.Add([]byte(c.doc))
	}
}

// A fuzz test without seeds passes and tests nothing.
func TestFuzzCorpusIsThere(t *testing.T) {
	for _, target := range []string{"FuzzDocument"} {
		found, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil || len(found) == 0 {
			t.Errorf("testdata/fuzz/%s has no seeds (%v)", target, err)
		}
		for _, name := range found {
			b, err := os.ReadFile(name)
			if err != nil || !strings.HasPrefix(string(b), "go test fuzz v1\n") {
				t.Errorf("%s is no seed", name)
			}
		}
	}
	if len(unusual) < 45 {
		t.Errorf("only %d unusual documents", len(unusual))
	}
}

// sample is a document as MSAL writes it, with n users.
func sample(n int) []byte {
	var b strings.Builder
	section := func(name, format string) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:{", name)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, format, i)
		}
		b.WriteByte('}')
	}
	secret := strings.Repeat("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9", 40)
	section(SectionAccessToken, `"u%[1]d.t-login.microsoftonline.com-accesstoken-c-t-`+
		`https://graph.microsoft.com/.default":{"home_account_id":"u%[1]d.t",`+
		`"environment":"login.microsoftonline.com","realm":"t","credential_type":"AccessToken","client_id":"c",`+
		`"secret":"`+secret+`","target":"https://graph.microsoft.com/.default","expires_on":"1700003600",`+
		`"extended_expires_on":"1700003600","cached_at":"1700000000","token_type":"Bearer"}`)
	section(SectionRefreshToken, `"u%[1]d.t-login.microsoftonline.com-refreshtoken-c":{"home_account_id":"u%[1]d.t",`+
		`"environment":"login.microsoftonline.com","credential_type":"RefreshToken","client_id":"c",`+
		`"secret":"`+secret[:900]+`"}`)
	section(SectionIDToken, `"u%[1]d.t-login.microsoftonline.com-idtoken-c-t":{"home_account_id":"u%[1]d.t",`+
		`"environment":"login.microsoftonline.com","realm":"t","credential_type":"IdToken","client_id":"c",`+
		`"secret":"`+secret[:700]+`"}`)
	section(SectionAccount, `"u%[1]d.t-login.microsoftonline.com-t":{"home_account_id":"u%[1]d.t",`+
		`"environment":"login.microsoftonline.com","realm":"t","local_account_id":"u%[1]d","authority_type":"MSSTS",`+
		`"username":"user%[1]d@example.com"}`)
	b.WriteString(`,"AppMetadata":{"appmetadata-login.microsoftonline.com-c":{"client_id":"c",` +
		`"environment":"login.microsoftonline.com"}}`)
	return []byte("{" + b.String() + "}")
}

func BenchmarkDocument(b *testing.B) {
	for _, n := range []int{1, 50} {
		doc := sample(n)
		entries := mustParse(b, doc)
		m := realManager(b)
		b.Run(fmt.Sprintf("users=%d/MSALUnmarshal", n), func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				_ = m.Unmarshal(doc)
			}
		})
		b.Run(fmt.Sprintf("users=%d/Parse", n), func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Parse(doc)
			}
		})
		b.Run(fmt.Sprintf("users=%d/Diff", n), func(b *testing.B) {
			other := mustParse(b, sample(n))
			b.ReportAllocs()
			for b.Loop() {
				Diff(entries, other)
			}
		})
		b.Run(fmt.Sprintf("users=%d/Assemble", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Assemble(entries)
			}
		})
	}
}
