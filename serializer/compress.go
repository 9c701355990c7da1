package serializer

import (
	_ "embed" // the dictionary
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
)

// Tokens are base64 text, of which no compressor makes much: each character holds six bits, but where the next byte of
// the JSON beneath begins shifts from one to the next. So what is base64 is undone first, and the JSON and the
// signatures beneath are compressed by S2 (github.com/klauspost/compress/s2, an extension of Snappy) with a dictionary
// of what such entries and tokens are made of: names of members and claims, hosts, common values. An entry with an
// access token shrinks to half, with a refresh token, which is random, to two thirds, an account to a third.
//
// S2 rather than Zstandard, which with the same dictionary makes the access token another tenth smaller, and nothing
// else: compressing costs 9 us against 350, decompressing 10 against 34, measured side by side.
//
// The packed form, which S2 gets, is pairs of
//
//	size
//	   v  length of literal bytes, as a uvarint, and the bytes
//	   v  length of decoded bytes, as a uvarint, and the bytes: base64url without padding when unpacked
//
// to the end; the last pair may lack its second half.
//
// What an observer of lengths learns: how well an entry compresses. Every entry is sealed by itself, and nobody who
// sees Redis chooses what stands in an entry beside a secret that is not theirs, which is what the attacks on
// compressed TLS (CRIME, BREACH) rest on.
const (
	codecS2 = 1

	// compressFrom is the size from which compressing is tried: below it the frame eats the gain.
	compressFrom = 64
	// compressUpTo bounds what is compressed, and so what a value may grow to when it is opened. MSAL's largest entries,
	// tokens with hundreds of groups, have some 20 KB, an answer of the token endpoint 1 MiB at most.
	compressUpTo = 4 << 20
	// runFrom is the length from which a run of base64 is undone. Shorter ones are words.
	runFrom = 32
)

// dictionary is part of codec 1: a change of it would be another codec.
//
//go:embed dictionary.v1
var dictionary []byte

var s2dict = sync.OnceValue(func() *s2.Dict { return s2.MakeDictManual(dictionary, 0) })

// compress returns plaintext in the form of the returned codec.
func compress(plaintext []byte) (codec byte, body []byte) {
	if len(plaintext) < compressFrom || len(plaintext) > compressUpTo {
		return codecNone, plaintext
	}
	body = s2dict().Encode(nil, pack(plaintext))
	if len(body) >= len(plaintext) {
		return codecNone, plaintext
	}
	return codecS2, body
}

// decompress undoes compress. The body is authenticated, so an error means that whoever sealed it did so wrongly.
func decompress(codec byte, body []byte) ([]byte, error) {
	if codec == codecNone {
		return body, nil
	}
	size, err := s2.DecodedLen(body)
	if err == nil && size > 2*compressUpTo { // packing makes text longer where there is nothing to undo
		err = errPacked
	}
	if err == nil {
		body, err = s2dict().Decode(nil, body)
	}
	if err == nil {
		body, err = unpack(body)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: it does not decompress", ErrCorrupt)
	}
	return body, nil
}

// pack undoes base64.
func pack(text []byte) []byte {
	out := make([]byte, 0, len(text)+16)
	literal := 0
	for i := 0; i < len(text); {
		if base64url[text[i]] == 0 {
			i++
			continue
		}
		end, mixed := run(text, i)
		// Whole groups of four only: these decode to whole bytes, whatever they are.
		n := (end - i) / 4 * 4
		if n < runFrom || !mixed {
			i = end
			continue
		}
		out = appendBytes(out, text[literal:i])
		out = binary.AppendUvarint(out, uint64(n/4*3))
		out, _ = base64.RawURLEncoding.AppendDecode(out, text[i:i+n]) // of its own alphabet: always decodes
		literal, i = i+n, end
	}
	return appendBytes(out, text[literal:])
}

// run is where a run of base64 ends, and whether it looks like one: with capital and small letters. Names of entries
// are made of words and GUIDs in small letters; shifting those against each other makes them compress worse.
func run(text []byte, i int) (end int, mixed bool) {
	seen := byte(0)
	for ; i < len(text); i++ {
		class := base64url[text[i]]
		if class == 0 {
			break
		}
		seen |= class
	}
	return i, seen&(capital|small) == capital|small
}

const (
	other byte = 1 << iota
	small
	capital
)

// base64url is the alphabet of RFC 4648 section 5, by kind of letter; 0 is not in it.
var base64url = func() (class [256]byte) {
	for kind, letters := range map[byte]string{
		capital: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", small: "abcdefghijklmnopqrstuvwxyz", other: "0123456789-_",
	} {
		for _, c := range []byte(letters) {
			class[c] = kind
		}
	}
	return class
}()

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

var errPacked = errors.New("serializer: not packed")

// unpack makes text of exactly its size: an entry is kept in memory for as long as its user is known.
func unpack(packed []byte) ([]byte, error) {
	size := 0
	if err := parts(packed, func(part []byte, decoded bool) error {
		if decoded {
			size += base64.RawURLEncoding.EncodedLen(len(part))
		} else {
			size += len(part)
		}
		if size > compressUpTo {
			return errPacked
		}
		return nil
	}); err != nil {
		return nil, err
	}
	text := make([]byte, 0, size)
	_ = parts(packed, func(part []byte, decoded bool) error {
		if decoded {
			text = base64.RawURLEncoding.AppendEncode(text, part)
		} else {
			text = append(text, part...)
		}
		return nil
	})
	return text, nil
}

// parts calls f for each part of the packed form.
func parts(packed []byte, f func(part []byte, decoded bool) error) error {
	for decoded := false; len(packed) > 0; decoded = !decoded {
		n, size := binary.Uvarint(packed)
		if size <= 0 || n > uint64(len(packed)-size) {
			return errPacked
		}
		if err := f(packed[size:size+int(n)], decoded); err != nil {
			return err
		}
		packed = packed[size+int(n):]
	}
	return nil
}
