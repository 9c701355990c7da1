package serializer

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

// NewEncrypted returns a Serializer that encrypts with AES-256-GCM. The first
// key seals; every key opens the values that carry its id.
//
// Rotating a key without losing a token takes two roll-outs: first add the new
// key last on every instance, so that all can open what it seals; then move it
// first. Remove the old key when what it sealed has expired. An instance that
// meets an id it does not have reports [ErrUnknownKey].
//
// Nonces are random, 96 bits long. NIST SP 800-38D (8.3) therefore allows at
// most 2^32 values to be sealed with one key, by the whole fleet together: a
// thousand new tokens every second for 49 days, a hundred for 16 months. Rotate
// a key well before. The nonce comes from crypto/cipher itself, so that the
// package also works where Go enforces FIPS 140 (GODEBUG=fips140=only).
//
// GCM does not commit to its key: somebody who knows two of the keys can make
// a value that opens under both, to different contents. Nothing here is decided by which key opens
// a value, and the id, which is authenticated, selects one key; keys are never tried in turn.
//
// The errors of Open are [ErrFormat], [ErrCorrupt], [ErrVersion], [ErrKind],
// [ErrUnknownKey] and [ErrAssociatedData]. What is 64 bytes
// or more is compressed where that makes it smaller; to the rest sealing adds 47 bytes and the length of the key's id.
//
// NewEncrypted refuses no keys at all, a zero Key, two keys of one id, one key under two ids, and a key of one byte
// repeated, such as zeros.
func NewEncrypted(keys ...Key) (Serializer, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: NewEncrypted needs at least one", ErrKeys)
	}
	e := &encrypted{sealID: keys[0].id, keys: make(map[string]cipher.AEAD, len(keys))}
	for i, k := range keys {
		if k.secret == nil {
			return nil, fmt.Errorf("%w: key %d is the zero Key; make keys with ParseKeys or GenerateKey", ErrKeys, i+1)
		}
		if _, ok := e.keys[k.id]; ok {
			return nil, fmt.Errorf("%w: key %d has the id %q of an earlier one; give each key its own id", ErrKeys, i+1, k.id)
		}
		block, err := aes.NewCipher(k.secret()[:])
		if err != nil {
			return nil, fmt.Errorf("serializer: key %q: %w", k.id, err)
		}
		gcm, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("serializer: key %q: %w", k.id, err)
		}
		e.keys[k.id] = gcm
	}
	if err := checkSecrets(keys); err != nil {
		return nil, err
	}
	return e, nil
}

// encrypted is immutable after NewEncrypted, and the AEADs in it may be used
// concurrently, so its methods need no lock.
//
// The body, after the header:
//
//	offset  size
//	    18     1  n, the length of the key's id, 1 to 32
//	    19     n  the key's id
//	  19+n    12  nonce
//	  31+n        ciphertext, as long as the plaintext in the form of the header's codec
//	   end    16  tag, over the ciphertext and, as additional data, value[7:19+n] || associated data
//
// The header's length follows from its own contents, so header and associated
// data cannot be shifted against each other.
type encrypted struct {
	sealID string
	keys   map[string]cipher.AEAD
}

// additionalData joins the authenticated part of the header and the associated data.
func additionalData(header, associatedData []byte) []byte {
	b := make([]byte, 0, len(header)-checkedFrom+len(associatedData))
	return append(append(b, header[checkedFrom:]...), associatedData...)
}

func (e *encrypted) Seal(plaintext, associatedData []byte) ([]byte, error) {
	gcm := e.keys[e.sealID]
	codec, body := compress(plaintext)
	v := make([]byte, 0, headerSize+1+len(e.sealID)+len(body)+gcm.Overhead())
	v = appendHeader(v, kindSealed, codec, associatedData)
	v = append(v, byte(len(e.sealID)))
	v = append(v, e.sealID...)
	return finish(gcm.Seal(v, nil, body, additionalData(v, associatedData))), nil
}

func (e *encrypted) Open(sealed, associatedData []byte) ([]byte, error) {
	header, id, err := sealedBy(sealed)
	if err != nil {
		return nil, err
	}
	gcm, ok := e.keys[string(id)]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownKey, id)
	}
	if err := checkPlace(sealed, associatedData); err != nil {
		return nil, err
	}
	plaintext, err := gcm.Open(nil, nil, sealed[len(header):], additionalData(header, associatedData))
	if err != nil {
		return nil, fmt.Errorf("%w: it was altered on purpose, or the key %q of this instance is not the "+
			"key %q that sealed it",
			ErrCorrupt, id, id)
	}
	return decompress(sealed[codecOffset], plaintext)
}

// KeyID is the id of the key that sealed a value of [NewEncrypted], read from its header without opening it: whoever
// seals values anew with a newer key can pass over those that have it. What is no such value gets the error that Open
// would give it. The id is believed only as far as the checksum goes; Open is what authenticates it.
func KeyID(sealed []byte) (string, error) {
	_, id, err := sealedBy(sealed)
	return string(id), err
}

// sealedBy is the header of a sealed value, its key's id included, and that id.
func sealedBy(sealed []byte) (header, id []byte, err error) {
	if err := checkHeader(sealed, kindSealed); err != nil {
		return nil, nil, err
	}
	body := sealed[headerSize:]
	if len(body) == 0 || len(body) < 1+int(body[0]) {
		return nil, nil, fmt.Errorf("%w: its key id is cut off", ErrCorrupt)
	}
	header = sealed[:headerSize+1+int(body[0])]
	id = header[headerSize+1:]
	if !validID(string(id)) {
		return nil, nil, fmt.Errorf("%w: its key id is none", ErrCorrupt)
	}
	return header, id, nil
}

// String keeps the keys out of anything that prints the Serializer.
func (e *encrypted) String() string { return "serializer: AES-256-GCM, key " + e.sealID }

// GoString does the same for %#v.
func (e *encrypted) GoString() string { return e.String() }

// Format does the same for every other verb, %d included.
func (e *encrypted) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.String()) }

// MarshalText does the same for encoders.
func (e *encrypted) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// ErrKeys: the keys given to [ParseKeys], [GenerateKey] or [NewEncrypted] cannot
// be used. The error says which one, by position and id, and what to change.
var ErrKeys = errors.New("serializer: bad keys")
