package record

import (
	"maps"
	"slices"
	"time"
	"unsafe"

	"github.com/msal-redis/msal-redis-go/internal/heapsize"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Entry is an entry of MSAL's document as it is kept in Redis: its times are Redis's.
type Entry struct {
	msaldoc.Entry
	Field string
	// Stamp is when its token was asked for, or Redis's time of the look before that.
	Stamp redistime.Time
	// Session is when the sign-in that it comes of was asked for; an app's is of none, and has when it was asked for
	// itself. A refresh is of the session of the token that was sent. Removals go by it.
	Session redistime.Time
	// Began is when what it belongs to was asked for, since this process's start: where Redis's clock gets known better,
	// Session does. 0: it was not asked for here.
	Began  time.Duration
	Expiry int64 // seconds; 0: none
	Due    int64 // seconds: the record's refresh_on, whatever this process has put off; 0: none
}

// New makes the kept form of an entry whose times are Redis's.
func New(e msaldoc.Entry, stamp, session redistime.Time) Entry {
	x := Entry{Entry: e, Field: layout.EntryField(e), Stamp: stamp, Session: session, Due: e.RefreshOn}
	if e.Section == msaldoc.SectionAccessToken {
		x.Expiry = max(e.ExpiresOn, 1)
	}
	return x
}

// Expired tells whether its token has expired at a time of Redis.
func (e Entry) Expired(at redistime.Time) bool {
	return e.Expiry > 0 && e.Expiry <= at.Seconds()
}

// IsDue tells whether a newer one is to be asked for at a time of Redis, by the record.
func (e Entry) IsDue(at redistime.Time) bool {
	return e.Due > 0 && e.Due <= at.Seconds()
}

// Newer tells whether it takes the place of another of its field.
func (e Entry) Newer(than Entry) bool {
	if e.Session != than.Session {
		return e.Session > than.Session
	}
	return e.Stamp > than.Stamp
}

// Size is about what it takes of memory. Raw is there twice, the other time as the text that the fields point into; so
// is the key where it was read from Redis, in what was sealed.
func (e Entry) Size() int64 {
	return heapsize.Of(int(unsafe.Sizeof(e))) + heapsize.Of(len(e.Section)) + heapsize.Of(len(e.Field)) +
		heapsize.Of(len(e.Key)) + heapsize.Of(len(e.Raw)) + heapsize.Of(len(e.Key)+len(e.Raw)) +
		heapsize.Of(len(e.Capabilities)) + heapsize.Of(len(e.Asked))
}

// EndedBy tells whether a removal has ended it.
func (e Entry) EndedBy(t layout.Tombstone) bool {
	return t.Ends(e.Session, func() string {
		if e.Section != msaldoc.SectionAccessToken {
			return ""
		}
		return layout.HashScopes(msaldoc.ScopesOf(e.Target))
	})
}

// Snapshot is what is known of a record at a moment. It is never changed. nil is nothing.
type Snapshot struct {
	Version int64            // Redis's; 0: no record there, or not this one
	Removed layout.Tombstone // what is known to be removed, here or elsewhere: the entries are of after it
	Entries map[string]Entry // by field
}

// Live are the entries whose token has not expired, in order of their fields.
func (s *Snapshot) Live(at redistime.Time) []Entry {
	if s == nil {
		return nil
	}
	var live []Entry
	for _, field := range slices.Sorted(maps.Keys(s.Entries)) {
		if e := s.Entries[field]; !e.Expired(at) {
			live = append(live, e)
		}
	}
	return live
}

// Empty tells whether it has no entries.
func (s *Snapshot) Empty() bool { return s == nil || len(s.Entries) == 0 }

// Size is about what it takes of memory.
func (s *Snapshot) Size() int64 {
	if s == nil {
		return 0
	}
	size := heapsize.Of(int(unsafe.Sizeof(*s))) + heapsize.OfMap(len(s.Entries), entryPair)
	for _, f := range s.Removed.Some {
		size += heapsize.Of(int(unsafe.Sizeof(f))) + heapsize.Of(len(f.Scopes))
	}
	for _, e := range s.Entries {
		size += e.Size()
	}
	return size
}

// entryPair is what a map has of an entry and its field: what is larger than 128 bytes is elsewhere.
const entryPair = int(unsafe.Sizeof("") + unsafe.Sizeof((*Entry)(nil)))

// Entry is the entry of a field, if there is one.
func (s *Snapshot) Entry(field string) (e Entry, ok bool) {
	if s != nil {
		e, ok = s.Entries[field]
	}
	return e, ok
}

// removed is what is known to be removed.
func (s *Snapshot) removed() layout.Tombstone {
	if s == nil {
		return layout.Tombstone{}
	}
	return s.Removed
}

// later is e, or what is held of the same token where that is to be refreshed later.
func (s *Snapshot) later(e Entry) Entry {
	if held, ok := s.Entry(e.Field); ok && held.Secret == e.Secret && held.RefreshOn > e.RefreshOn &&
		held.Stamp == e.Stamp {
		return held
	}
	return e
}
