package serializer

import (
	"fmt"
	"slices"
)

// Plaintext returns a Serializer that does not encrypt. Whoever can read the
// Redis, its backups or its network traffic can use every token in it. It is
// meant for tests and for looking at values while developing.
//
// A checksum and the hash of the associated data catch accidents: a changed byte
// is [ErrCorrupt], a value in another place [ErrAssociatedData]. They stop nobody who means it.
//
// It opens only what it sealed. An encrypted Serializer reports such a value as
// [ErrKind] and never opens it, and the reverse, so switching over either way
// makes the values of before unreadable, which to a cache is a miss.
func Plaintext() Serializer { return plaintext{} }

// plaintext's body is the plaintext, to the end of the value.
type plaintext struct{}

func (plaintext) Seal(text, associatedData []byte) ([]byte, error) {
	v := appendHeader(make([]byte, 0, headerSize+len(text)), kindPlain, codecNone, associatedData)
	return finish(append(v, text...)), nil
}

func (plaintext) Open(sealed, associatedData []byte) ([]byte, error) {
	if err := checkHeader(sealed, kindPlain); err != nil {
		return nil, err
	}
	if err := checkPlace(sealed, associatedData); err != nil {
		return nil, err
	}
	if sealed[codecOffset] != codecNone {
		return nil, fmt.Errorf("%w: plain text that is compressed", ErrVersion)
	}
	return slices.Clone(sealed[headerSize:]), nil
}

func (plaintext) String() string { return "serializer: plain text" }
