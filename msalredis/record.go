package msalredis

import (
	"errors"
	"fmt"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// sealed makes the value for a place in Redis. again: that it failed is in the log already.
func (c *Cache) sealed(key, field string, stamp, expiry int64, content []byte, again bool) (string, error) {
	return c.sealedOf(key, field, stamp, expiry, 0, content, again)
}

// sealedOf is sealed of what belongs to a session; 0: to none.
func (c *Cache) sealedOf(key, field string, stamp, expiry, session int64, content []byte, again bool) (string, error) {
	value, err := layout.SealSession(c.serializer, key, field, stamp, expiry, session, content)
	record := telemetry.Entry
	if field == "" {
		record = telemetry.Answer
	}
	if err != nil {
		c.metrics.Unsealed(record)
		if !again {
			c.log.Warn("a value could not be sealed and is not shared", "error", err)
		}
		return "", fmt.Errorf("msalredis: sealing failed: %w", err)
	}
	c.metrics.Sealed(record, len(value))
	return value, nil
}

// whyUnreadable is why a stored value could not be opened or read.
func whyUnreadable(err error) telemetry.Unreadable {
	switch {
	case errors.Is(err, serializer.ErrUnknownKey):
		return telemetry.UnknownKey
	case errors.Is(err, serializer.ErrVersion):
		return telemetry.NewerVersion
	case errors.Is(err, serializer.ErrAssociatedData):
		return telemetry.Moved
	case errors.Is(err, serializer.ErrCorrupt):
		return telemetry.Corrupt
	}
	return telemetry.Malformed
}

// stored is an entry of MSAL's document as it is kept in Redis: its times are Redis's.
type stored struct {
	msaldoc.Entry
	field  string
	stamp  int64 // microseconds
	expiry int64 // seconds; 0: none
	// session is when the sign-in that it comes of was asked for, in microseconds; 0: that is not known, or it is an app's. A refresh
	// is of the session of the token that was sent.
	session int64
	due     int64 // seconds: the record's refresh_on, whatever this process has put off; 0: none
}

// newStored makes the kept form of an entry whose times are Redis's.
func newStored(e msaldoc.Entry, stamp int64) stored {
	s := stored{Entry: e, field: layout.EntryField(e), stamp: stamp, due: e.RefreshOn}
	if e.Section == msaldoc.SectionAccessToken {
		s.expiry = max(e.ExpiresOn, 1)
	}
	return s
}

// dead tells whether the entry's token has expired at a time of Redis.
func (s stored) dead(us int64) bool {
	return s.expiry > 0 && s.expiry <= us/int64(time.Second/time.Microsecond)
}

func (s stored) size() int64 {
	return int64(len(s.Key) + len(s.Capabilities) + len(s.Asked) + 2*len(s.Raw) + 256)
}

// id is the hashed name of a partition (pid) or of a request identity (rid).
type id = layout.ID
