package layout_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// What stands in Redis is read by every later version: these bytes stay what they are.
func TestGolden(t *testing.T) {
	n := layout.Names{Prefix: "msal"}
	pid := layout.PartitionID("uid.utid")
	value, err := layout.Seal(serializer.Plaintext(), n.Tokens(pid), "f", 1_700_000_000_000_000,
		1_700_003_600, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	ofSession, err := layout.SealSession(serializer.Plaintext(), n.Tokens(pid), "f", 1_700_000_000_000_000, 1_700_003_600,
		1_690_000_000_000_000, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	entry := func(capabilities string) msaldoc.Entry {
		return msaldoc.Entry{Section: "AccessToken", Key: "k", Capabilities: capabilities}
	}
	head := layout.AnswerHead{Status: 200, Header: map[string]string{"Content-Type": "application/json"},
		Started: 1, Received: 2, Until: 3, Failures: 4, Of: "client_credentials", Grant: "g", Client: "c",
		Tenant: "t", Scopes: "s"}
	for _, c := range []struct{ what, got, want string }{
		{"partition", n.Tokens(pid), "msal:v1:{ZY6o0RdybmF7D_-QC09l-Y6E}:tokens"},
		{"partition in capitals", n.Tokens(layout.PartitionID("UID.utid")), "msal:v1:{ZY6o0RdybmF7D_-QC09l-Y6E}:tokens"},
		{"field", layout.FieldName("AccessToken", "k"), "xEG_RGSqqItFEkHaTsJ4JtWw"},
		{"field of an entry", layout.EntryField(entry("")), "xEG_RGSqqItFEkHaTsJ4JtWw"},
		{"field of an entry without capabilities", layout.EntryField(entry(msaldoc.NoCapabilities)),
			"xEG_RGSqqItFEkHaTsJ4JtWw"},
		{"field of an entry with capabilities", layout.EntryField(entry(`{"values":["CP1"]}`)), "B6BuehKLoLK_bolO9Xs_IdfO"},
		{"list of accounts", n.Accounts(), "msal:v1:{accounts}:list"},
		{"channel", n.Changes(), "msal:v1:changes"},
		{"digits of a record", value[:layout.HeaderSize], "17000000000000001700003600"},
		{"digits of a record with a session", ofSession[:layout.HeaderSize+17],
			"17000000000000001700003600s1690000000000000"},
		{"answer", string(layout.EncodeAnswer(head, []byte("{}"))),
			`{"status":200,"header":{"Content-Type":"application/json"},"started":1,"received":2,"until":3,"failures":4,` +
				`"of":"client_credentials","grant":"g","client":"c","tenant":"t","scopes":"s"}` + "\n{}"},
		{"removal", layout.Change{From: "f", ID: "i", Removed: layout.Tombstone{Whole: 1}}.String(), "f i 1"},
		{"damage", layout.Change{From: "f", ID: "i"}.String(), "f i damaged"},
		{"member", layout.Member{Kind: "r", Scopes: "s", ID: "i"}.String(), "r s i"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	n := layout.Names{Prefix: "msal"}
	pid := layout.PartitionID("x")
	for key, what := range map[string]string{
		n.Tokens(pid): "tokens", n.RIDs(pid): "rids", n.Response(pid): "response", n.Pause(pid): "pause",
		n.Tombstone(pid): "tombstone", n.Lock(pid): "lock",
	} {
		if i, w, ok := n.Parse(key); i != pid || w != what || !ok {
			t.Errorf("%s: %q %q %v", key, i, w, ok)
		}
	}
	for _, key := range []string{"", "msal", n.Changes(), "msal:v2:{a}:tokens", "msal2:v1:{a}:tokens", "msal:v1:{}:tokens",
		"msal:v1:{a}:", "msal:v1:{a"} {
		if _, _, ok := n.Parse(key); ok {
			t.Errorf("%q is taken for one of ours", key)
		}
	}
	for _, bad := range []string{"a", "accounts", string(pid) + "A", string(pid[1:]),
		string(pid[:12]) + "\x1b" + string(pid[13:]), string(pid[:12]) + "\u0085" + string(pid[14:]),
		string(pid[:12]) + "=" + string(pid[13:]), string(pid[:12]) + "+" + string(pid[13:]),
		string(pid[:12]) + "\n" + string(pid[13:]), "}" + string(pid[1:])} {
		i := layout.ID(bad)
		_, _, parsed := n.Parse(n.Tokens(i))
		_, member := layout.ParseMember(layout.Member{Kind: layout.MemberAnswer, Scopes: "s", ID: i}.String())
		_, change := layout.ParseChange(layout.Change{From: "f", ID: i}.String(), layout.MaxStamp)
		if i.Usable() || parsed || member || change {
			t.Errorf("%q is taken for an id: %v %v %v", bad, parsed, member, change)
		}
	}
	m := layout.Member{Kind: layout.MemberPartition, Scopes: "s", ID: pid}
	if got, ok := layout.ParseMember(m.String()); got != m || !ok {
		t.Errorf("member %v %v, want %v", got, ok, m)
	}
	for _, text := range []string{"", "r", "r ", "r s", "r s ", "p  ", "r s }", "r s }i"} {
		if m, ok := layout.ParseMember(text); ok {
			t.Errorf("%q is taken for the member %v", text, m)
		}
	}
	for _, c := range []layout.Change{{From: "f", ID: pid, Removed: layout.Tombstone{Whole: 1_700_000_000_000_000,
		Some: []layout.Forgotten{{Scopes: "a+b", AsOf: 1_700_000_000_000_001}}}}, {From: "f", ID: pid}} {
		if got, ok := layout.ParseChange(c.String(), layout.MaxStamp); !reflect.DeepEqual(got, c) || !ok {
			t.Errorf("change %v %v, want %v", got, ok, c)
		}
	}
	for _, text := range []string{"", "f", "f i", "f i 0", "f i -1", "f i x", "f i 1 2", " i 1", "f  1",
		"f i 99999999999999999999"} {
		if c, ok := layout.ParseChange(text, layout.MaxStamp); ok {
			t.Errorf("%q is taken for the change %v", text, c)
		}
	}
}

// An answer of a version that did not say whose request it was is one all the same.
func TestAnswerOfOlderVersion(t *testing.T) {
	h, body, err := layout.DecodeAnswer(
		[]byte(`{"status":200,"started":1,"received":2,"of":"client_credentials"}` + "\n{}"))
	if err != nil || h.Status != 200 || h.Client != "" || string(body) != "{}" {
		t.Errorf("%+v %q %v", h, body, err)
	}
	for _, bad := range []string{"", "{}", "{}\n{}", "x\n{}", `{"status":99}` + "\n"} {
		if _, _, err := layout.DecodeAnswer([]byte(bad)); err == nil {
			t.Errorf("%q is taken for an answer", bad)
		}
	}
}

// FuzzNames: whatever stands in Redis as a key, a member or a message, what is taken for one of ours has an id of 24
// characters of base64url, and is the very text that the id makes.
func FuzzNames(f *testing.F) {
	n, pid := layout.Names{Prefix: "msal"}, layout.PartitionID("x")
	for _, s := range []string{"", n.Tokens(pid), n.Accounts(), "msal:v1:{\x1b}:tokens", "r s " + string(pid), "p  }",
		"f " + string(pid) + " 1", "f i damaged", string(pid), string(pid[1:]) + "\u009b"} {
		f.Add(s)
	}
	isID := func(s string) bool {
		return len(s) == 24 && strings.IndexFunc(s, func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", r)
		}) < 0
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := layout.ID(text).Usable(), isID(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if i, what, ok := n.Parse(text); ok && (!isID(string(i)) || "msal:v1:{"+string(i)+"}:"+what != text) {
			t.Errorf("%q is taken for the key of %q", text, i)
		}
		if m, ok := layout.ParseMember(text); ok && (!isID(string(m.ID)) || m.String() != text) {
			t.Errorf("%q is taken for the member %v", text, m)
		}
		if c, ok := layout.ParseChange(text, layout.MaxStamp); ok && !isID(string(c.ID)) {
			t.Errorf("%q is taken for the change %v", text, c)
		}
	})
}

// FuzzKeys: whatever MSAL's keys, a prefix and a message of another instance hold, names in Redis are made of harmless
// characters, keep what belongs together in one slot, and differ where the keys do.
func FuzzKeys(f *testing.F) {
	f.Add("msal", "user.tenant", "AccessToken", "home-env-accesstoken-c-t-s", "self pid")
	f.Add("{", "}{", "", "\x00", "")
	f.Add("a b", strings.Repeat("x", 10_000), "\xff", "ÿ", " ")
	word, hash := regexp.MustCompile(`^[a-z]+$`), regexp.MustCompile(`^[A-Za-z0-9_-]{24}$`)
	f.Fuzz(func(t *testing.T, prefix, partition, section, key, message string) {
		if c, ok := layout.ParseChange(message, redistime.Time(1)); ok && !hash.MatchString(string(c.ID)) {
			t.Fatalf("a message is of %q", c.ID)
		}
		pid, field := layout.PartitionID(partition), layout.FieldName(section, key)
		if layout.PartitionID(partition+"x") == pid || field == layout.FieldName(section+"x", key) ||
			layout.FieldName(section, key+"x") == layout.FieldName(section+"x", key) || string(pid) == field {
			t.Fatal("two keys have one name")
		}
		if !hash.MatchString(string(pid)) {
			t.Fatalf("pid %q", pid)
		}
		if layout.CheckPrefix(prefix) != nil {
			return
		}
		k := layout.Names{Prefix: prefix}
		for _, name := range []string{
			k.Tokens(pid), k.RIDs(pid), k.Response(pid), k.Pause(pid), k.Tombstone(pid), k.Lock(pid),
		} {
			rest, ok := strings.CutPrefix(name, prefix+":v1:{"+string(pid)+"}:")
			if !ok || strings.Count(name, "{") != 1 || strings.Count(name, "}") != 1 || !word.MatchString(rest) {
				t.Fatalf("key %q", name)
			}
		}
	})
}
