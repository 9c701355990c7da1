package msaldoc

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// maxDepth bounds how deep a document may nest. MSAL's own has three levels;
// gjson's validator calls itself once per level, without a limit of its own, and
// Go ends a process whose stack passes 1 GB.
const (
	maxDepth      = 512
	maxEntryDepth = maxDepth - 2 // an entry stands two levels deep
)

// valid reports whether data is one JSON value nested at most limit deep.
func valid(data []byte, limit int) bool {
	// Counting brackets is much cheaper than following them, and nearly always enough.
	if bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("[")) > limit && depth(data) > limit {
		return false
	}
	return gjson.ValidBytes(data)
}

// depth returns how deep data nests. Of text that is no JSON it returns
// at least the depth that a parser reaches before it finds that out.
func depth(data []byte) int {
	deepest, now := 0, 0
	inString := false
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}', c == ']':
			now--
		}
	}
	return deepest
}

// unquote decodes a valid JSON string as encoding/json, and so MSAL, does: what
// is not UTF-8, and half a surrogate pair, become U+FFFD. gjson decodes otherwise.
func unquote(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 && utf8.ValidString(raw) {
		return raw[1 : len(raw)-1]
	}
	var s string
	_ = json.Unmarshal([]byte(raw), &s) // raw was validated
	return s
}

// validUTF8 is what a name becomes on its way through JSON.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			b, _ := json.Marshal(s) // a string always has an encoding
			return append(dst, b...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// seconds reads a time as MSAL writes it, a string of whole seconds, and as
// others might. clean: MSAL reads this very text, and to the same value. ok:
// there is a time at all.
func seconds(v gjson.Result) (n int64, clean, ok bool) {
	text := v.Raw
	if v.Type == gjson.String {
		text = unquote(v.Raw)
	} else if v.Type != gjson.Number {
		return 0, false, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		// MSAL trims the quotes and reads what is between them without
		// unescaping it; "+5" it would read, and we need not leave it.
		clean = text[0] != '+' && len(v.Raw) <= len(text)+2
		return n, clean, n != msalZeroTime
	}
	text = strings.TrimSpace(text)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !gjson.Valid(text) || // Go would also take 1_0, 0x1p4 and Inf
		!(math.Abs(f) < 1e18) || int64(f) == msalZeroTime {
		return 0, false, false
	}
	return int64(f), false, true
}

// sameJSON reports whether two valid JSON values mean the same: the order of
// members and white space do not count, numbers count as written.
func sameJSON(a, b string) bool {
	if a == b {
		return true
	}
	decode := func(s string) (v any) {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		_ = d.Decode(&v) // s was validated
		return v
	}
	return reflect.DeepEqual(decode(a), decode(b))
}

// fromGoQuoted turns the Go escapes that MSAL leaves in names into JSON ones,
// and returns nil if there are none. It cannot change a valid document: none of
// these escapes exists in JSON.
func fromGoQuoted(data []byte) []byte {
	var out []byte
	done := 0
	replace := func(from, to int, with string) {
		out = append(out, data[done:from]...)
		out = append(out, with...)
		done = to
	}
	hexRune := func(from, digits int) (rune, bool) {
		if from+digits > len(data) {
			return 0, false
		}
		n, err := strconv.ParseUint(string(data[from:from+digits]), 16, 32)
		return rune(n), err == nil
	}
	for i := 0; i+1 < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		switch data[i+1] {
		case 'a':
			replace(i, i+2, `\u0007`)
		case 'v':
			replace(i, i+2, `\u000b`)
		case 'x': // a control character, or a byte that is not UTF-8
			if r, ok := hexRune(i+2, 2); ok {
				if r >= utf8.RuneSelf {
					r = utf8.RuneError
				}
				s := "000" + strconv.FormatInt(int64(r), 16)
				replace(i, i+4, `\u`+s[len(s)-4:])
			}
		case 'U':
			if r, ok := hexRune(i+2, 8); ok {
				replace(i, i+10, string(r))
			}
		}
		i++ // the escaped character, which may be a backslash
	}
	if out == nil {
		return nil
	}
	return append(out, data[done:]...)
}
