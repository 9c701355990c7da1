package msaldoc

import (
	"bytes"
	"encoding/binary"

	"github.com/tidwall/gjson"
)

// flatMember is a member of an object: its name, and its value as JSON.
type flatMember struct {
	name, raw string
	kind      gjson.Type
}

// flat reads an object as MSAL writes an entry: members in plain ASCII, each text or a whole number, with nothing
// escaped, nothing nested and no white space. It finds such an object valid and takes it apart in one pass, at a fifth
// of what that costs in general. not ok: the object is written otherwise, or is none; the general reader finds out.
// text and raw are equal.
func flat(text string, raw []byte, into []flatMember) (members []flatMember, ok bool) {
	i := 1
	if len(raw) < 2 || raw[0] != '{' {
		return nil, false
	}
	for more := raw[1] != '}'; more; {
		end := flatText(raw, i)
		if end < 0 || end >= len(raw) || raw[end] != ':' {
			return nil, false
		}
		m := flatMember{name: text[i+1 : end-1], kind: gjson.String}
		i = end + 1
		if end = flatText(raw, i); end < 0 {
			m.kind = gjson.Number
			end = flatNumber(raw, i)
		}
		if end < 0 || end >= len(raw) {
			return nil, false
		}
		m.raw = text[i:end]
		into = append(into, m)
		more = raw[end] == ','
		i = end
		if more {
			i++
		}
	}
	return into, i == len(raw)-1 && raw[i] == '}'
}

// flatText is where the string that begins at i ends, or -1.
func flatText(raw []byte, i int) int {
	if i >= len(raw) || raw[i] != '"' {
		return -1
	}
	n := bytes.IndexByte(raw[i+1:], '"')
	if n < 0 || !plain(raw[i+1:i+1+n]) {
		return -1
	}
	return i + n + 2
}

// flatNumber is where the whole number that begins at i ends, or -1.
func flatNumber(raw []byte, i int) int {
	end := i
	for end < len(raw) && raw[end] >= '0' && raw[end] <= '9' {
		end++
	}
	if end == i || raw[i] == '0' && end > i+1 {
		return -1
	}
	return end
}

// plain tells whether what stands between two quotes is ASCII without control characters and escapes: eight bytes at a
// time, by the subtractions that leave a byte's highest bit set where the byte is below, or equal to, another
// (https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord). A borrow may find too much, never too little.
func plain(b []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		escape := w ^ ('\\' * ones)
		if (w|(w-' '*ones)|(escape-ones)&^escape)&high != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c < ' ' || c == '\\' || c > 0x7f {
			return false
		}
	}
	return true
}
