package serializer

import (
	"encoding/binary"
	"fmt"
)

// entryVersion is the first byte of every encoded entry.
const entryVersion = 1

// AppendEntry appends e in the compact form that is sealed for one Redis hash field:
//
//	size
//	   1  version, 1
//	   v  length of the section, as a uvarint, and the section
//	   v  length of the key, as a uvarint, and the key
//	      Raw, to the end
//
// It neither encrypts nor checks; see [Serializer].
func AppendEntry(dst []byte, e Entry) []byte {
	dst = append(dst, entryVersion)
	dst = binary.AppendUvarint(dst, uint64(len(e.Section)))
	dst = append(dst, e.Section...)
	dst = binary.AppendUvarint(dst, uint64(len(e.Key)))
	dst = append(dst, e.Key...)
	return append(dst, e.Raw...)
}

// DecodeEntry reads what [AppendEntry] wrote. The Entry's Raw aliases b, which must not be modified afterwards.
// It returns [ErrVersion] for a newer form and [ErrEntry] for anything else that
// is not an entry, by the rules of [NewEntry].
func DecodeEntry(b []byte) (Entry, error) {
	if len(b) == 0 {
		return Entry{}, fmt.Errorf("%w: it has no bytes", ErrEntry)
	}
	if b[0] != entryVersion {
		return Entry{}, fmt.Errorf("%w: entry version %d", ErrVersion, b[0])
	}
	section, rest, ok := cutString(b[1:])
	if !ok {
		return Entry{}, fmt.Errorf("%w: its section is cut off", ErrEntry)
	}
	key, raw, ok := cutString(rest)
	if !ok {
		return Entry{}, fmt.Errorf("%w: its key is cut off", ErrEntry)
	}
	return NewEntry(section, key, raw)
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, false
	}
	end := size + int(n)
	return string(b[size:end]), b[end:], true
}
