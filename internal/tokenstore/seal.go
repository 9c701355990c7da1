package tokenstore

import (
	"errors"
	"fmt"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/record"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Seal makes the value for a place in Redis of what belongs to no session.
func (st *Store) Seal(key string, stamp redistime.Time, content []byte) (string, error) {
	value, err := layout.Seal(st.o.Serializer, key, "", stamp.Micros(), 0, content)
	return st.sealed(telemetry.Answer, value, err, false)
}

// sealEntry makes the value for an entry's field. told: that it failed is in the log already.
func (st *Store) sealEntry(key string, e record.Entry, told bool) (string, error) {
	value, err := layout.SealSession(st.o.Serializer, key, e.Field, e.Stamp.Micros(), e.Expiry, e.Session.Micros(),
		layout.AppendEntry(nil, e.Entry))
	return st.sealed(telemetry.Entry, value, err, told)
}

func (st *Store) sealed(what telemetry.Record, value string, err error, told bool) (string, error) {
	if err != nil {
		st.o.Metrics.Unsealed(what)
		if !told {
			st.o.Log.Warn("a value could not be sealed and is not shared", "error", err)
		}
		return "", fmt.Errorf("msalredis: sealing failed: %w", err)
	}
	st.o.Metrics.Sealed(what, len(value))
	return value, nil
}

// open opens a field of a record. What does not open is a miss: counted, logged, and left where it is.
func (st *Store) open(r *Record, field, value string) (record.Entry, error) {
	e, stamp, expiry, err := layout.OpenEntry(st.o.Serializer, st.o.Names.Tokens(r.ID), field, value)
	if err != nil {
		st.o.Metrics.Unreadable(WhyUnreadable(err))
		st.o.Log.Warn("a stored entry cannot be read and counts as missing", "record", string(r.ID), "error", err)
		return record.Entry{}, err
	}
	x := record.New(e, redistime.Time(stamp), redistime.Time(layout.Session(value)))
	x.Field, x.Expiry = field, expiry
	if x.Session == 0 {
		x.Session = x.Stamp
	}
	return x, nil
}

// WhyUnreadable is why a stored value could not be opened or read.
func WhyUnreadable(err error) telemetry.Unreadable {
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
