package layout

import (
	"encoding/binary"
	"fmt"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// The first byte of every encoded entry.
const (
	entryVersion  = 1
	entryDeclared = 'C' // an entry with Capabilities
)

// AppendEntry appends e in the compact form that is sealed for one field of a partition:
//
//	size
//	   1  version, 1
//	   v  length of the section, as a uvarint, and the section
//	   v  length of the key, as a uvarint, and the key
//	      Raw, to the end
//
// Where it has Capabilities, a C stands in place of the version, and they and Asked come before the section, with their
// lengths. Who does not know that form takes the entry for one of a newer version.
//
// It neither encrypts nor checks; see [SealSession].
func AppendEntry(dst []byte, e msaldoc.Entry) []byte {
	if e.Capabilities == "" {
		dst = append(dst, entryVersion)
	} else {
		dst = appendCounted(append(dst, entryDeclared), e.Capabilities)
		dst = appendCounted(dst, e.Asked)
	}
	dst = appendCounted(dst, e.Section)
	dst = appendCounted(dst, e.Key)
	return append(dst, e.Raw...)
}

func appendCounted(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// DecodeEntry reads what [AppendEntry] wrote. The Entry's Raw aliases b, which must not be modified afterwards. It
// returns [serializer.ErrVersion] for a newer form and [msaldoc.ErrEntry] for anything else that is not an entry, by
// the rules of [msaldoc.NewEntry].
func DecodeEntry(b []byte) (msaldoc.Entry, error) {
	if len(b) == 0 {
		return msaldoc.Entry{}, fmt.Errorf("%w: it has no bytes", msaldoc.ErrEntry)
	}
	capabilities, asked, rest, ok := "", "", b[1:], true
	switch b[0] {
	case entryVersion:
	case entryDeclared:
		if capabilities, rest, ok = cutString(rest); !ok || capabilities == "" {
			return msaldoc.Entry{}, fmt.Errorf("%w: its capabilities are cut off", msaldoc.ErrEntry)
		}
		if asked, rest, ok = cutString(rest); !ok {
			return msaldoc.Entry{}, fmt.Errorf("%w: what it was asked for with is cut off", msaldoc.ErrEntry)
		}
	default:
		return msaldoc.Entry{}, fmt.Errorf("%w: entry version %d", serializer.ErrVersion, b[0])
	}
	section, rest, ok := cutString(rest)
	if !ok {
		return msaldoc.Entry{}, fmt.Errorf("%w: its section is cut off", msaldoc.ErrEntry)
	}
	key, raw, ok := cutString(rest)
	if !ok {
		return msaldoc.Entry{}, fmt.Errorf("%w: its key is cut off", msaldoc.ErrEntry)
	}
	e, err := msaldoc.NewEntry(section, key, raw)
	if err == nil {
		e.Capabilities, e.Asked = capabilities, asked
	}
	return e, err
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, false
	}
	end := size + int(n)
	return string(b[size:end]), b[end:], true
}
