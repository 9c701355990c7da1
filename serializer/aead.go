package serializer

import "fmt"

// AEAD is authenticated encryption with associated data, with the two methods
// of Tink's tink.AEAD. It must be safe for concurrent use, must not change its arguments, and
// Decrypt must fail unless ciphertext and associated data are those of one Encrypt.
type AEAD interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)
}

// FromAEAD returns a Serializer that leaves the encryption to aead: a Tink
// keyset, a key management service, a hardware module. Each entry is sealed by
// a call of its own, so use an AEAD that holds its data key in memory (Tink's
// KMS envelope AEAD asks the service once per message: wrap the keyset instead).
// Keys and their rotation are the AEAD's affair.
//
// The AEAD is given as associated data the eleven bytes value[7:18] of the
// header followed by the caller's. So the header is authenticated as well.
//
// The errors of Open are [ErrFormat], [ErrCorrupt], [ErrVersion], [ErrKind],
// [ErrAssociatedData] and, for whatever the AEAD itself says, [ErrAEAD].
//
// FromAEAD panics if aead is nil.
func FromAEAD(aead AEAD) Serializer {
	if aead == nil {
		panic("serializer: FromAEAD was given no AEAD")
	}
	return &external{aead}
}

// external's body is what Encrypt returned, to the end of the value.
type external struct{ aead AEAD }

func (x *external) Seal(plaintext, associatedData []byte) ([]byte, error) {
	codec, body := compress(plaintext)
	header := appendHeader(make([]byte, 0, headerSize), kindAEAD, codec, associatedData)
	ciphertext, err := x.aead.Encrypt(body, additionalData(header, associatedData))
	if err != nil {
		return nil, fmt.Errorf("%w to encrypt: %w", ErrAEAD, err)
	}
	v := make([]byte, 0, len(header)+len(ciphertext))
	return finish(append(append(v, header...), ciphertext...)), nil
}

func (x *external) Open(sealed, associatedData []byte) ([]byte, error) {
	if err := checkHeader(sealed, kindAEAD); err != nil {
		return nil, err
	}
	if err := checkPlace(sealed, associatedData); err != nil {
		return nil, err
	}
	plaintext, err := x.aead.Decrypt(sealed[headerSize:], additionalData(sealed[:headerSize], associatedData))
	if err != nil {
		return nil, fmt.Errorf("%w to decrypt: %w", ErrAEAD, err)
	}
	return decompress(sealed[codecOffset], plaintext)
}

// String names the kind only: the AEAD may print its keys.
func (x *external) String() string { return "serializer: a caller's AEAD" }

// GoString does the same for %#v.
func (x *external) GoString() string { return x.String() }

// Format does the same for every other verb, %d included.
func (x *external) Format(f fmt.State, _ rune) { fmt.Fprint(f, x.String()) }

// MarshalText does the same for encoders.
func (x *external) MarshalText() ([]byte, error) { return []byte(x.String()), nil }
