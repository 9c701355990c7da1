package msalredis

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/msal-redis/msal-redis-go/serializer"
)

// What is stored in Redis, of an entry or of an answer, is
//
//	16 digits  stamp    when its token was asked for, in microseconds of Redis time: the newer write stays
//	10 digits  expiry   when it dies, in seconds of Redis time; 0000000000: with its record
//	           sealed   the content, with the Redis key, the field and these 26 digits as associated data
//
// The digits are outside the seal because scripts compare them, and inside the associated data because nobody
// else may change them. A value at another key, in another field or with other digits does not open.
const headerSize = 26

var errRecord = errors.New("msalredis: not a record of this library")

// maxStamp keeps the header at its length: 16 digits of microseconds last until the year 2286.
const maxStamp = 9_999_999_999_999_999

func header(stamp, expiry int64) string {
	return fmt.Sprintf("%016d%010d", min(max(stamp, 0), maxStamp), min(max(expiry, 0), 9_999_999_999))
}

// parseHeader reads the digits of a value.
func parseHeader(value string) (stamp, expiry int64, err error) {
	if len(value) < headerSize {
		return 0, 0, errRecord
	}
	for i := range headerSize {
		if value[i] < '0' || value[i] > '9' {
			return 0, 0, errRecord
		}
	}
	stamp, _ = strconv.ParseInt(value[:16], 10, 64)
	expiry, _ = strconv.ParseInt(value[16:headerSize], 10, 64)
	return stamp, expiry, nil
}

func place(key, field, header string) []byte {
	return []byte(key + "\x00" + field + "\x00" + header)
}

// sealed makes the value for a place in Redis.
func (c *Cache) sealed(key, field string, stamp, expiry int64, content []byte) (string, error) {
	h := header(stamp, expiry)
	value, err := c.serializer.Seal(content, place(key, field, h))
	record := "entry"
	if field == "" {
		record = "answer"
	}
	c.metrics.sealed(record, len(h)+len(value), err)
	if err != nil {
		c.log.warn("a value could not be sealed and is not shared", "error", err)
		return "", fmt.Errorf("msalredis: sealing failed: %w", err)
	}
	return h + string(value), nil
}

// opened is the content of a value read at a place in Redis.
func (c *Cache) opened(key, field, value string) (content []byte, stamp, expiry int64, err error) {
	stamp, expiry, err = parseHeader(value)
	if err != nil {
		return nil, 0, 0, err
	}
	content, err = c.serializer.Open([]byte(value[headerSize:]), place(key, field, value[:headerSize]))
	return content, stamp, expiry, err
}

// stored is an entry of MSAL's document as it is kept in Redis: its times are Redis's.
type stored struct {
	serializer.Entry
	field  string
	stamp  int64 // microseconds
	expiry int64 // seconds; 0: none
	due    int64 // seconds: the record's refresh_on, whatever this process has put off; 0: none
}

// newStored makes the kept form of an entry whose times are Redis's.
func newStored(e serializer.Entry, stamp int64) stored {
	s := stored{Entry: e, field: fieldName(e.Section, e.Key), stamp: stamp, due: e.RefreshOn}
	if e.Section == serializer.SectionAccessToken {
		s.expiry = max(e.ExpiresOn, 1)
	}
	return s
}

// dead tells whether the entry's token has expired at a time of Redis.
func (s stored) dead(us int64) bool {
	return s.expiry > 0 && s.expiry <= us/int64(time.Second/time.Microsecond)
}

func (s stored) size() int64 { return int64(len(s.Key) + 2*len(s.Raw) + 256) }
