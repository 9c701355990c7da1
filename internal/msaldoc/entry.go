package msaldoc

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// The sections of MSAL's cache document. Others may exist and are kept.
const (
	SectionAccessToken  = "AccessToken"
	SectionRefreshToken = "RefreshToken"
	SectionIDToken      = "IdToken"
	SectionAccount      = "Account"
	SectionAppMetadata  = "AppMetadata"
)

// ErrEntry: this is no entry of MSAL's cache document, or nothing in it is worth keeping.
var ErrEntry = errors.New("msalredis: not a cache entry")

// Entry is one entry of MSAL's cache document: a token, an account, or what
// MSAL knows about an application. Make entries with [Parse] or [NewEntry];
// these guarantee that MSAL accepts the entry (see Raw).
//
// An Entry is a value and is never changed in place, so that it may be shared
// between goroutines; neither may Raw's bytes be, nor the bytes it was made from, which Raw may alias.
// [Entry.Clone] makes an Entry that keeps no larger document alive.
//
// Printing, logging or encoding an Entry shows its section and nothing else.
// (Package fmt can call no methods on an unexported field of a struct. Do not
// print structs that hold entries, nor the single fields below.)
type Entry struct {
	Section string
	Key     string // the entry's name in its section
	// Raw is the entry's JSON, as it was written. It differs from that only where MSAL
	// would refuse the entry, and with it the whole document: then the member at fault is
	// written anew (a time such as 1700000000.5) or left out (a refresh_on of null or "",
	// a secret that is a number).
	Raw []byte

	// What Raw says. A member that is absent, or is no string, is "".
	HomeAccountID, Environment, ClientID, Realm, Target, Secret, FamilyID, TokenType, KeyID, ExtCacheKey string

	// Unix seconds; 0 if absent or not a time.
	CachedAt, ExpiresOn, ExtendedExpiresOn, RefreshOn int64

	// Capabilities are those that the client declared to Entra ID when it asked for this access token, as it wrote them
	// (xms_cc); [NoCapabilities]: none; "": that is not known. MSAL's document does not have them.
	Capabilities string

	// Asked is a name of all else with which this access token was asked for and which it does not say: the endpoint, the
	// credential, parameters. "": not known. MSAL's document does not have it.
	Asked string

	// checked points to the Raw that was found good, so that Assemble need not look again.
	checked *byte
}

// NewEntry makes an entry from its JSON, one object. Raw aliases raw unless it had to be repaired.
//
// It returns [ErrEntry] if raw is something else, is nested deeper than 510 levels, if nothing is left of
// it after the repair, or if MSAL takes the section's name for something else ("Accounts").
func NewEntry(section, key string, raw []byte) (Entry, error) {
	section, key = validUTF8(section), validUTF8(key)
	raw = bytes.Trim(raw, " \t\r\n")
	text := string(raw)
	var buf [membersAtMost]flatMember
	members, isFlat := flat(text, raw, buf[:0])
	if !isFlat && !valid(raw, maxEntryDepth) {
		return Entry{}, fmt.Errorf("%w: not valid JSON", ErrEntry)
	}
	return readEntry(section, key, text, raw, members, isFlat)
}

// membersAtMost is how many members MSAL's own entries have; others cost an allocation.
const membersAtMost = 20

// newEntry reads valid JSON. text and raw are equal; text is what the fields
// point into, so that they stay what they are even if raw's owner changes it.
func newEntry(section, key, text string, raw []byte) (Entry, error) {
	var buf [membersAtMost]flatMember
	members, isFlat := flat(text, raw, buf[:0])
	return readEntry(section, key, text, raw, members, isFlat)
}

// readEntry is newEntry of what flat has read, or has not.
func readEntry(section, key, text string, raw []byte, members []flatMember, isFlat bool) (Entry, error) {
	e := Entry{Section: section, Key: key, Raw: raw, checked: &raw[0]}
	schema, isKnown := known[section]
	if !isKnown && foreignSection(section) {
		return Entry{}, fmt.Errorf("%w: MSAL does not keep a section of this name", ErrEntry)
	}
	if text[0] != '{' {
		return Entry{}, fmt.Errorf("%w: not a JSON object", ErrEntry)
	}
	var (
		broken bool   // a member must be repaired
		keeps  bool   // MSAL will write something back: a member unknown to it...
		live   uint32 // ...or one of these
	)
	read := func(name string, v gjson.Result) {
		m := schema[name]
		switch m.kind {
		case foreignMember:
			broken = true
		case unknownMember:
			keeps = true
			e.set(name, v)
		case textMember:
			switch v.Type {
			case gjson.String:
				live &^= 1 << m.bit
				if len(v.Raw) > len(`""`) {
					live |= 1 << m.bit
				}
				e.set(name, v)
			case gjson.Null:
			default:
				broken = true
			}
		case timeMember:
			_, clean, ok := seconds(v)
			if !clean || !ok {
				broken = true
			}
			if ok {
				live |= 1 << m.bit
				e.set(name, v)
			}
		}
	}
	if isFlat {
		for i := range members {
			read(members[i].name, gjson.Result{Type: members[i].kind, Raw: members[i].raw})
		}
	} else {
		gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
			read(unquote(k.Raw), v)
			return true
		})
	}
	if isKnown && !keeps && live == 0 {
		return Entry{}, fmt.Errorf("%w: it is empty", ErrEntry)
	}
	if broken {
		e.Raw = repair(schema, text)
		e.checked = &e.Raw[0]
	}
	return e, nil
}

// set takes a member into the field for it, if there is one.
func (e *Entry) set(name string, v gjson.Result) {
	var text *string
	var time *int64
	switch name {
	case "home_account_id":
		text = &e.HomeAccountID
	case "environment":
		text = &e.Environment
	case "client_id":
		text = &e.ClientID
	case "realm":
		text = &e.Realm
	case "target":
		text = &e.Target
	case "secret":
		text = &e.Secret
	case "family_id":
		text = &e.FamilyID
	case "token_type":
		text = &e.TokenType
	case "keyid":
		text = &e.KeyID
	case "ext_cache_key":
		text = &e.ExtCacheKey
	case "cached_at":
		time = &e.CachedAt
	case "expires_on":
		time = &e.ExpiresOn
	case "extended_expires_on":
		time = &e.ExtendedExpiresOn
	case "refresh_on":
		time = &e.RefreshOn
	default:
		return
	}
	if time != nil {
		*time, _, _ = seconds(v)
		return
	}
	*text = ""
	if v.Type == gjson.String {
		*text = unquote(v.Raw)
	}
}

// repair writes the object anew, without what MSAL would not read.
func repair(schema map[string]member, text string) []byte {
	out := make([]byte, 1, len(text))
	out[0] = '{'
	gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
		value := v.Raw
		switch schema[unquote(k.Raw)].kind {
		case foreignMember:
			return true
		case textMember:
			if v.Type != gjson.String && v.Type != gjson.Null {
				return true
			}
		case timeMember:
			n, _, ok := seconds(v)
			if !ok {
				return true
			}
			value = `"` + strconv.FormatInt(n, 10) + `"`
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, k.Raw...), ':'), value...)
		return true
	})
	return append(out, '}')
}

// Place is where a document has an entry: two entries of one place are two states of the same entry. It holds the
// user's and the tenant's ids, so it belongs neither in a log nor, unhashed, in Redis.
type Place struct{ Section, Key string }

// Place is the entry's.
func (e Entry) Place() Place { return Place{e.Section, e.Key} }

// Clone returns a copy that shares no memory with the document the entry came from.
func (e Entry) Clone() Entry {
	// Reading it again is what makes the fields point into the copy.
	c, err := NewEntry(strings.Clone(e.Section), strings.Clone(e.Key), bytes.Clone(e.Raw))
	if err != nil {
		return e
	}
	c.Capabilities, c.Asked = strings.Clone(e.Capabilities), strings.Clone(e.Asked)
	return c
}

// isChecked reports whether one of our functions has read Raw, so that it can be walked without care.
func (e *Entry) isChecked() bool { return len(e.Raw) > 0 && e.checked == &e.Raw[0] }

// WithTimes returns the entry with its times, cached_at, expires_on,
// extended_expires_on and refresh_on, moved by an offset, and every other byte
// of Raw as it is: the translation from one clock to another. A time of 0 means
// none and stays, and so does what is no time or would leave the range of one.
func (e Entry) WithTimes(offsetSeconds int64) Entry {
	if offsetSeconds == 0 {
		return e
	}
	return e.withTimes(func(_ string, n int64) int64 {
		if moved := n + offsetSeconds; (moved > n) == (offsetSeconds > 0) {
			return moved
		}
		return n // it overflows
	})
}

// withTimes returns the entry with what change makes of its times, but for what is none, or would become none.
func (e Entry) withTimes(change func(name string, seconds int64) int64) Entry {
	if !e.isChecked() {
		return e
	}
	text := string(e.Raw)
	var out []byte
	done := 0
	gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
		name := unquote(k.Raw)
		switch name {
		case "cached_at", "expires_on", "extended_expires_on", "refresh_on":
		default:
			return true
		}
		n, clean, ok := seconds(v)
		if !ok || !clean || n == 0 {
			return true
		}
		moved := change(name, n)
		if moved == n || moved == 0 || moved == msalZeroTime {
			return true
		}
		quote := ""
		if v.Type == gjson.String {
			quote = `"`
		}
		out = append(out, text[done:v.Index]...)
		out = append(out, quote+strconv.FormatInt(moved, 10)+quote...)
		done = v.Index + len(v.Raw)
		return true
	})
	if out == nil {
		return e
	}
	out = append(out, text[done:]...)
	moved, err := newEntry(e.Section, e.Key, string(out), out)
	if err != nil {
		return e
	}
	moved.Capabilities, moved.Asked = e.Capabilities, e.Asked
	return moved
}

// String shows the section only.
func (e Entry) String() string { return "Entry(" + e.Section + ")" }

// GoString shows the section only.
func (e Entry) GoString() string { return e.String() }

// Format shows the section only, whatever the verb.
func (e Entry) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.String()) }

// LogValue shows the section only.
func (e Entry) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalText shows the section only. Package layout has the form in which an entry is stored.
func (e Entry) MarshalText() ([]byte, error) { return []byte(e.String()), nil }
