package msaldoc

import (
	"bytes"

	"github.com/tidwall/gjson"
)

// Diff compares two states of a cache. changed are the entries of new that are absent from old or
// differ there, in new's order; removed are the entries of old that are absent from new, in old's order.
//
// Entries are compared by what they mean to MSAL ([Entry.Equal]), so a document that went through MSAL
// unchanged does not differ, although MSAL writes its members in another order. Of several entries
// of one place in a list the last counts.
func Diff(old, new []Entry) (changed, removed []Entry) {
	before := make(map[Place]int, len(old))
	for i := range old {
		before[old[i].Place()] = i
	}
	after := make(map[Place]int, len(new))
	for i := range new {
		after[new[i].Place()] = i
	}
	for i := range new {
		k := new[i].Place()
		if after[k] != i {
			continue
		}
		if at, ok := before[k]; !ok || !new[i].Equal(old[at]) {
			changed = append(changed, new[i])
		}
	}
	for i := range old {
		k := old[i].Place()
		if _, ok := after[k]; !ok && before[k] == i {
			removed = append(removed, old[i])
		}
	}
	return changed, removed
}

// Equal reports whether two entries are the same entry with the same contents. White space, the order of members, the
// form of a time ("5" or 5) and whether a text is "", null or absent do not count where they mean nothing to MSAL, nor
// do Capabilities and Asked, of which it knows nothing. Everything else does, members unknown to MSAL included.
func (e Entry) Equal(other Entry) bool {
	if e.Section != other.Section || e.Key != other.Key {
		return false
	}
	if bytes.Equal(e.Raw, other.Raw) { // nearly always: MSAL writes an entry the same each time
		return true
	}
	schema, isKnown := known[e.Section]
	if !e.isChecked() || !other.isChecked() {
		return false // not made by our functions: equal only byte for byte
	}
	if e.Secret != other.Secret {
		return false // a new token: no need to read on
	}
	if !isKnown {
		return sameJSON(string(e.Raw), string(other.Raw))
	}
	a, b := meaning(schema, string(e.Raw)), meaning(schema, string(other.Raw))
	if len(a) != len(b) {
		return false
	}
	for name, x := range a {
		y, ok := b[name]
		if !ok || x.kind != y.kind || x.time != y.time || x.kind != unknownMember && x.text != y.text {
			return false
		}
		if x.kind == unknownMember && !sameJSON(x.text, y.text) {
			return false
		}
	}
	return true
}

// value is one member as MSAL understands it: text is decoded for a text member and JSON for an unknown one.
type value struct {
	kind memberKind
	text string
	time int64
}

func meaning(schema map[string]member, text string) map[string]value {
	m := make(map[string]value, len(schema))
	gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
		name := unquote(k.Raw)
		switch kind := schema[name].kind; kind {
		case unknownMember:
			m[name] = value{kind: kind, text: v.Raw}
		case textMember:
			if v.Type == gjson.Null {
				break
			}
			if s := unquote(v.Raw); s != "" {
				m[name] = value{kind: kind, text: s}
			} else {
				delete(m, name)
			}
		case timeMember:
			if n, _, ok := seconds(v); ok {
				m[name] = value{kind: kind, time: n}
			}
		}
		return true
	})
	return m
}
