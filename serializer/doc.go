// Package serializer seals what the token cache stores, and opens it again.
//
// Most programs need two calls of it:
//
//	keys, err := serializer.ParseKeys(os.Getenv("TOKEN_CACHE_KEYS")) // "2026b:BASE64,2026a:BASE64"
//	sealer, err := serializer.NewEncrypted(keys...)
//
// and hand the result to msalredis.New. Make a first key with
// GenerateKey("2026a") and print it once with [Key.Export].
//
// # Sealing
//
// A [Serializer] seals one value at a time, bound to its place by associated
// data. There are three: [NewEncrypted], AES-256-GCM with keys that can be rotated without losing a token;
// [FromAEAD], for keys that live in Tink or a key management service; and
// [Plaintext], which must be asked for by name. Sealed values of one are never opened by another.
//
// A value that does not open says why: [ErrUnknownKey] and [ErrVersion] are what a roll-out brings about, and
// such values should be left alone; [ErrAssociatedData] is a value that was moved, [ErrCorrupt] one that was changed,
// [ErrFormat] and [ErrKind] ones that come from elsewhere. The byte layout is
// drawn in seal.go and encrypted.go, and samples under testdata/v1 must open for ever.
//
// Everything in this package is free of I/O and safe for concurrent use.
package serializer
