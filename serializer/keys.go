package serializer

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
)

const (
	keySize = 32
	maxID   = 32
)

// Key is one AES-256 key and the id by which sealed values name it. Make one
// with [ParseKeys] or [GenerateKey]; the zero Key is refused by [NewEncrypted].
//
// A Key does not leak by accident: printing it with any verb of package fmt,
// logging it with log/slog or encoding it as JSON or text gives its id and never its bytes, also
// where it sits in an unexported field of a larger struct. [Key.Export] is the one way to get them.
type Key struct {
	id string
	// A function, because fmt cannot call the methods of a value in an unexported
	// field and prints what it finds by reflection: of a function, its address. A
	// pointer is not enough: for a verb that does not fit, such as %s, fmt prints what it points to.
	secret func() *[keySize]byte
}

func newKey(id string, secret *[keySize]byte) Key {
	return Key{id: id, secret: func() *[keySize]byte { return secret }}
}

// ID returns the key's id, which is no secret.
func (k Key) ID() string { return k.id }

// Export returns the key as "id:BASE64", the form [ParseKeys] reads. This is
// the secret itself: show it once, to whoever puts it in the vault.
// The zero Key exports as "".
func (k Key) Export() string {
	if k.secret == nil {
		return ""
	}
	return k.id + ":" + base64.StdEncoding.EncodeToString(k.secret()[:])
}

// String shows the id only.
func (k Key) String() string { return "Key(" + k.id + ")" }

// GoString shows the id only.
func (k Key) GoString() string { return k.String() }

// Format shows the id only, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue shows the id only.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText shows the id only; there is no way back from it.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// GenerateKey makes a new random key. The id has 1 to 32 letters, digits, dots,
// dashes or underscores; a name that sorts by age, such as "2026b", helps when rotating.
func GenerateKey(id string) (Key, error) {
	if !validID(id) {
		return Key{}, fmt.Errorf("%w: the id %s", ErrKeys, idRule)
	}
	var secret [keySize]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	return newKey(id, &secret), nil
}

// ParseKeys reads keys from a configuration value such as
//
//	2026b:mJ0kD1X0cQ8O3n2C9pQzv1m2n3b4v5c6x7z8a9s0d1E=,2026a:q1w2...
//
// that is, "id:BASE64" separated by commas, the sealing key first (see
// [NewEncrypted] for rotation). BASE64 is 32 bytes in the standard or the URL alphabet,
// padded or not. White space, line breaks included, means nothing anywhere. Make
// a key with GenerateKey(id).Export(), or with openssl rand -base64 32.
//
// Errors wrap [ErrKeys] and name the key by its position and id and say what to
// change. They hold nothing else of the text.
func ParseKeys(text string) ([]Key, error) {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '\ufeff' { // the byte order mark that Windows editors put in front
			return -1
		}
		return r
	}, text)
	if text == "" {
		return nil, fmt.Errorf("%w: there is none (is the environment variable set?); "+
			"write id:BASE64, for instance the output of GenerateKey", ErrKeys)
	}
	var keys []Key
	seen := map[string]int{}
	for item := range strings.SplitSeq(text, ",") {
		k, err := parseKey(item)
		n := len(keys) + 1
		if err != nil {
			return nil, fmt.Errorf("%w: key %d %w", ErrKeys, n, err)
		}
		if first, ok := seen[k.id]; ok {
			return nil, fmt.Errorf("%w: keys %d and %d have the same id %q; give each key its own", ErrKeys, first, n, k.id)
		}
		seen[k.id] = n
		keys = append(keys, k)
	}
	if err := checkSecrets(keys); err != nil {
		return nil, err
	}
	return keys, nil
}

// checkSecrets refuses what is no key: one byte 32 times, such as the zeros of a value that was never filled in, and
// the key of another id, with which a rotation would change nothing. They must not be zero Keys.
func checkSecrets(keys []Key) error {
	for i, k := range keys {
		secret := *k.secret()
		if secret == [keySize]byte(bytes.Repeat(secret[:1], keySize)) {
			return fmt.Errorf("%w: key %d (id %q) is one byte 32 times: make a random one, for instance with openssl rand "+
				"-base64 32", ErrKeys, i+1, k.id)
		}
		for j, other := range keys[:i] {
			if secret == *other.secret() {
				return fmt.Errorf("%w: keys %d and %d (ids %q and %q) are the same key: make a new one", ErrKeys, j+1,
					i+1, other.id, k.id)
			}
		}
	}
	return nil
}

const idRule = "must have 1 to 32 letters, digits, dots, dashes or underscores"

// parseKey reads one "id:BASE64". Its errors continue the sentence "key 2 ...".
//
// The id is quoted only once it is known to be one, at most 32 characters
// long. A key's text has at least 43, so it is not echoed when the two are
// swapped or the colon is missing.
func parseKey(item string) (Key, error) {
	if item == "" {
		return Key{}, fmt.Errorf("is empty: remove the comma, or fill in the value that is missing")
	}
	id, secret, ok := strings.Cut(item, ":")
	if !ok {
		return Key{}, fmt.Errorf("has no colon: write id:BASE64")
	}
	if id == "" {
		return Key{}, fmt.Errorf("has no id: write id:BASE64")
	}
	if !validID(id) {
		return Key{}, fmt.Errorf("has an id that cannot be used: it %s", idRule)
	}
	if strings.Contains(secret, ":") {
		return Key{}, fmt.Errorf("(id %q) has a second colon: put a comma between two keys", id)
	}
	// One alphabet, no padding: then one strict decoder reads all four variants.
	// Strict, because a mistyped last character should not pass as another key.
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(secret, "="))
	b, err := base64.RawStdEncoding.Strict().DecodeString(plain)
	if err != nil { // its text would quote an offset only, but it adds nothing either
		return Key{}, fmt.Errorf("(id %q) is not base64: write 32 bytes as base64, for instance with openssl rand -base64 32",
			id)
	}
	if len(b) != keySize {
		return Key{}, fmt.Errorf("(id %q) holds %d bytes: it must hold 32, for instance from openssl rand -base64 32", id,
			len(b))
	}
	return newKey(id, (*[keySize]byte)(b)), nil
}

// validID: the id is stored in the clear in every value and printed in logs and
// errors, so it keeps to characters that mean nothing anywhere.
func validID(id string) bool {
	if len(id) == 0 || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
