package serializer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Serializer seals values before they are stored and opens them again.
//
// Associated data says where a value belongs, for instance its Redis key and
// field. It is not stored: Open must be given the same bytes as Seal was, so a
// value that was copied to another place does not open there.
//
// What every implementation keeps to, and a caller may rely on:
//
//   - Both methods may be called by many goroutines at once.
//   - They do not keep, change or return memory of their arguments. A nil and an
//     empty slice mean the same.
//   - Open gives back exactly what Seal was given, or an error and no data.
//   - They do not block: one call seals one cache entry, so a Serializer that
//     asks the network for each call makes every token cost a round trip.
//
// The serializers of this package tell the reasons for a refusal apart by the
// errors below. None of these errors holds any part of the value, of the
// associated data or of a key.
type Serializer interface {
	Seal(plaintext, associatedData []byte) ([]byte, error)
	Open(sealed, associatedData []byte) ([]byte, error)
}

// Why a value did not open. Compare with errors.Is; the text of the error that
// arrives says more.
var (
	// ErrFormat: the value was not written by this package at all.
	ErrFormat = errors.New("serializer: not a sealed value")

	// ErrCorrupt: the value was written by this package and has changed since,
	// by accident (cut off, a flipped bit) or on purpose. A key whose id is right
	// and whose bytes are other than those that sealed the value ends here too.
	ErrCorrupt = errors.New("serializer: the sealed value was changed")

	// ErrVersion: the value is in a form that this version of the package does
	// not know. During a roll-out it comes from a newer instance: leave it alone.
	ErrVersion = errors.New("serializer: the sealed value is of an unknown version")

	// ErrKind: the value was sealed by another kind of serializer, for instance
	// stored in plain text where an encrypted one is wanted.
	ErrKind = errors.New("serializer: sealed by another kind of serializer")

	// ErrUnknownKey: the value was sealed with a key that was not given to
	// [NewEncrypted]. During a rotation it comes from an instance that already
	// has the next key: leave it alone.
	ErrUnknownKey = errors.New("serializer: sealed with an unknown key")

	// ErrAssociatedData: the value is intact but belongs to another place.
	ErrAssociatedData = errors.New("serializer: the associated data does not match")

	// ErrAEAD: the AEAD given to [FromAEAD] returned an error, which is wrapped
	// as well. The value was intact and in its place, so either the AEAD does not
	// have its key, or it could not be reached, or somebody altered the value on purpose.
	ErrAEAD = errors.New("serializer: the AEAD failed")
)

// # The header
//
// Every sealed value starts with the same 18 bytes:
//
//	offset  size
//	     0     3  0x9A 'M' 'R'     no text and no JSON starts with 0x9A: a foreign value is recognised
//	     3     4  CRC-32C          big endian, over everything that follows
//	     7     1  version          1
//	     8     1  kind             'E' encrypted, 'A' by a caller's AEAD, 'P' plain text
//	     9     1  codec            0: the payload is not compressed; 1: by S2, see compress.go
//	    10     8  place            SHA-256(placeDomain || associated data), its first 8 bytes
//	    18        the body: for E see the encrypted type, for A what the AEAD returned, for P the plaintext
//
// The checksum comes first because it is what makes the errors exact. GCM has
// one answer, "no", to a flipped bit, to a value in the wrong place and to a
// wrong key. Here a value whose checksum is wrong was damaged, whichever byte it
// was, so a flipped bit in the key id is not reported as an unknown key, nor one
// in the place as a moved value. Only where the checksum holds are the version,
// the kind, the key id and the place believed, in that order. (The exception is the
// magic itself: without it there is nothing to check, and the answer is ErrFormat.)
// The first seven bytes mean the same in every later version.
//
// Neither the checksum nor the place protects anything: whoever can write to
// Redis can make both. What protects is the tag of the AEAD, which covers the
// header from the version on and the whole associated data. The place shows whoever reads
// Redis a hash of the associated data; ours are the Redis key and field the value is stored under.
const (
	headerSize  = 18
	crcOffset   = 3
	checkedFrom = 7 // what the checksum covers and what the AEADs authenticate starts here
	kindOffset  = 8
	codecOffset = 9
	placeOffset = 10
	placeSize   = 8
	version1    = 1
	codecNone   = 0
	placeDomain = "msal-redis/serializer v1 associated data\x00"
	kindSealed  = 'E'
	kindAEAD    = 'A'
	kindPlain   = 'P'
	magicPrefix = "\x9aMR"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is the short hash of the associated data that the header carries.
func place(associatedData []byte) [placeSize]byte {
	h := sha256.New()
	h.Write([]byte(placeDomain))
	h.Write(associatedData)
	var sum [sha256.Size]byte
	return [placeSize]byte(h.Sum(sum[:0])[:placeSize])
}

// appendHeader appends the header with its checksum still open; see finish.
func appendHeader(dst []byte, kind, codec byte, associatedData []byte) []byte {
	dst = append(dst, magicPrefix...)
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, version1, kind, codec)
	p := place(associatedData)
	return append(dst, p[:]...)
}

// finish fills in the checksum.
func finish(value []byte) []byte {
	binary.BigEndian.PutUint32(value[crcOffset:], crc32.Checksum(value[checkedFrom:], castagnoli))
	return value
}

// checkHeader judges everything in front of the body but the place, which is
// looked at after the key: a value sealed with an unknown key is skipped whatever place it names.
func checkHeader(value []byte, kind byte) error {
	switch {
	case len(value) > 0 && len(value) < len(magicPrefix) && bytes.HasPrefix([]byte(magicPrefix), value):
		return fmt.Errorf("%w: it is cut off", ErrCorrupt)
	case !bytes.HasPrefix(value, []byte(magicPrefix)):
		return ErrFormat
	case len(value) <= checkedFrom:
		return fmt.Errorf("%w: it is cut off", ErrCorrupt)
	case binary.BigEndian.Uint32(value[crcOffset:]) != crc32.Checksum(value[checkedFrom:], castagnoli):
		return fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	case value[checkedFrom] != version1:
		return fmt.Errorf("%w: version %d", ErrVersion, value[checkedFrom])
	case len(value) < headerSize:
		return fmt.Errorf("%w: its header is cut off", ErrCorrupt)
	}
	switch value[kindOffset] {
	case kind:
	case kindSealed, kindAEAD, kindPlain:
		return fmt.Errorf("%w: it is %s, not %s", ErrKind, kindName(value[kindOffset]), kindName(kind))
	default:
		return fmt.Errorf("%w: kind %d", ErrVersion, value[kindOffset])
	}
	if c := value[codecOffset]; c != codecNone && c != codecS2 {
		return fmt.Errorf("%w: compressed by codec %d", ErrVersion, c)
	}
	return nil
}

// checkPlace tells whether the value belongs where the caller found it.
func checkPlace(value, associatedData []byte) error {
	if place(associatedData) != [placeSize]byte(value[placeOffset:headerSize]) {
		return ErrAssociatedData
	}
	return nil
}

func kindName(kind byte) string {
	switch kind {
	case kindSealed:
		return "encrypted with a key of this package"
	case kindAEAD:
		return "encrypted by an AEAD"
	}
	return "plain text"
}
