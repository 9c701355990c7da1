package layout

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// What is stored in Redis, of an entry or of an answer, is
//
//	16 digits  stamp    when its token was asked for, in microseconds of Redis time: the newer write stays
//	10 digits  expiry   when it dies, in seconds of Redis time; 0000000000: with its record
//	17 bytes   session  of an entry of a user: "s", and 16 digits of when its sign-in was asked for, in microseconds
//	                    of Redis time
//	           sealed   the content, with the Redis key, the field and all of these digits as associated data
//
// The digits are outside the seal because scripts compare them, and inside the associated data because nobody
// else may change them. A value at another key, in another field or with other digits does not open.

// HeaderSize is the length of the digits of stamp and expiry.
const HeaderSize = 26

// sessionSize is the length of a session's digits and of what tells them from something sealed.
const sessionSize = 17

// ErrRecord says that a value is not of this form, or not what its place asks for.
var ErrRecord = errors.New("msalredis: not a record of this library")

// MaxStamp keeps the header at its length: 16 digits of microseconds last until the year 2286.
const MaxStamp = 9_999_999_999_999_999

// Header makes the digits.
func Header(stamp, expiry int64) string {
	return fmt.Sprintf("%016d%010d", min(max(stamp, 0), MaxStamp), min(max(expiry, 0), 9_999_999_999))
}

// ParseHeader reads the digits of a value.
func ParseHeader(value string) (stamp, expiry int64, err error) {
	if len(value) < HeaderSize {
		return 0, 0, ErrRecord
	}
	for i := range HeaderSize {
		if value[i] < '0' || value[i] > '9' {
			return 0, 0, ErrRecord
		}
	}
	stamp, _ = strconv.ParseInt(value[:16], 10, 64)
	expiry, _ = strconv.ParseInt(value[16:HeaderSize], 10, 64)
	return stamp, expiry, nil
}

// Session is that of a value; 0: it has none.
func Session(value string) int64 {
	if len(value) < HeaderSize+sessionSize || value[HeaderSize] != 's' {
		return 0
	}
	for _, b := range []byte(value[HeaderSize+1 : HeaderSize+sessionSize]) {
		if b < '0' || b > '9' {
			return 0
		}
	}
	session, _ := strconv.ParseInt(value[HeaderSize+1:HeaderSize+sessionSize], 10, 64)
	return session
}

// Sealed is what is sealed of a value.
func Sealed(value string) string { return value[headerOf(value):] }

func headerOf(value string) int {
	if Session(value) > 0 {
		return HeaderSize + sessionSize
	}
	return min(HeaderSize, len(value))
}

func place(key, field, header string) []byte {
	return []byte(key + "\x00" + field + "\x00" + header)
}

// Seal makes the value for a place in Redis. The field of a STRING is "".
func Seal(s serializer.Serializer, key, field string, stamp, expiry int64, content []byte) (string, error) {
	return SealSession(s, key, field, stamp, expiry, 0, content)
}

// SealSession is Seal of what belongs to a session; 0: to none.
func SealSession(
	s serializer.Serializer, key, field string, stamp, expiry, session int64, content []byte,
) (string, error) {
	h := Header(stamp, expiry)
	if session > 0 {
		h += fmt.Sprintf("s%016d", min(session, MaxStamp))
	}
	value, err := s.Seal(content, place(key, field, h))
	if err != nil {
		return "", err
	}
	return h + string(value), nil
}

// Open is the content of a value read at a place in Redis.
func Open(s serializer.Serializer, key, field, value string) (content []byte, stamp, expiry int64, err error) {
	stamp, expiry, err = ParseHeader(value)
	if err != nil {
		return nil, 0, 0, err
	}
	head := headerOf(value)
	content, err = s.Open([]byte(value[head:]), place(key, field, value[:head]))
	return content, stamp, expiry, err
}

// OpenEntry is the entry in a field of a partition.
func OpenEntry(s serializer.Serializer, key, field, value string) (e msaldoc.Entry, stamp, expiry int64, err error) {
	content, stamp, expiry, err := Open(s, key, field, value)
	if err == nil {
		e, err = DecodeEntry(content)
	}
	if err == nil && EntryField(e) != field {
		err = ErrRecord
	}
	return e, stamp, expiry, err
}
