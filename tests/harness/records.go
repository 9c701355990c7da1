package harness

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// What stands in Redis, read and changed with the sealing keys in hand.

// Record is one entry of a partition as it stands in Redis.
type Record struct {
	RedisKey, Field, Value string // as Redis has them
	stamp, Expiry          int64
	msaldoc.Entry
}

const HeaderSize = 26 // of a value: 16 digits stamp, 10 digits expiry

var sessionForm = regexp.MustCompile(`^s[0-9]{16}`)

// HeadOf is what stands before what is sealed of a value: of a user's, its session too.
func HeadOf(value string) string {
	return value[:HeaderSize+len(sessionForm.FindString(value[HeaderSize:]))]
}

// AssociatedData is the associated data of a value.
func AssociatedData(key, field, header string) []byte {
	return []byte(key + "\x00" + field + "\x00" + header)
}

// Records are all entries of all partitions. One that does not open fails the test.
func (w *World) Records() []Record {
	w.T.Helper()
	s, rdb := w.Sealer(w.Keys), w.Redis.Admin
	var all []Record
	for _, key := range w.KeysOf() {
		if !strings.HasSuffix(key, ":tokens") {
			continue
		}
		fields, err := rdb.HGetAll(context.Background(), key).Result()
		if err != nil {
			w.T.Fatal(err)
		}
		for field, value := range fields {
			if field == "v" {
				continue
			}
			r, err := OpenRecord(s, key, field, value)
			if err != nil {
				w.T.Fatalf("%s %s: %v", key, field, err)
			}
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.RedisKey+a.Field, b.RedisKey+b.Field) })
	return all
}

func OpenRecord(s serializer.Serializer, key, field, value string) (Record, error) {
	r := Record{RedisKey: key, Field: field, Value: value}
	if len(value) < HeaderSize {
		return r, fmt.Errorf("%d bytes", len(value))
	}
	var err error
	if r.stamp, err = strconv.ParseInt(value[:16], 10, 64); err != nil {
		return r, err
	}
	if r.Expiry, err = strconv.ParseInt(value[16:HeaderSize], 10, 64); err != nil {
		return r, err
	}
	plaintext, err := s.Open([]byte(value[len(HeadOf(value)):]), AssociatedData(key, field, HeadOf(value)))
	if err != nil {
		return r, err
	}
	r.Entry, err = layout.DecodeEntry(plaintext)
	return r, err
}

// OneRecord is the record that all matches accept.
func OneRecord(t *testing.T, records []Record, matches ...func(Record) bool) Record {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(records), func(r Record) bool {
		return slices.ContainsFunc(matches, func(m func(Record) bool) bool { return !m(r) })
	})
	if len(found) != 1 {
		t.Fatalf("%d records match, want one", len(found))
	}
	return found[0]
}

func InSection(s string) func(Record) bool { return func(r Record) bool { return r.Section == s } }

func OfUser(u entratest.User) func(Record) bool {
	return func(r Record) bool { return r.HomeAccountID == u.HomeAccountID() }
}

// Put writes a value over what a field holds, as nothing of the library would.
func (w *World) Put(key, field, value string) {
	w.T.Helper()
	if err := w.Redis.Admin.HSet(context.Background(), key, field, value).Err(); err != nil {
		w.T.Fatal(err)
	}
}

// KeysOf are the keys under the prefix, once what calls do behind their callers is done: they give their leases back
// last. A lease that is held for a second is held on purpose, and not waited for.
func (w *World) KeysOf() []string {
	w.T.Helper()
	for until := time.Now().Add(time.Second); ; WaitUntil(time.Now().Add(2 * time.Millisecond)) {
		keys, err := w.Redis.Keys(context.Background(), w.Prefix+":*")
		if err != nil {
			w.T.Fatal(err)
		}
		held := func(k string) bool { return strings.HasSuffix(k, ":lock") }
		if !slices.ContainsFunc(keys, held) || time.Now().After(until) {
			return keys
		}
	}
}

// KeysLike are the keys under the prefix with an ending.
func (w *World) KeysLike(ending string) []string {
	w.T.Helper()
	return slices.DeleteFunc(w.KeysOf(), func(k string) bool { return !strings.HasSuffix(k, ending) })
}

// Settled waits until what calls that have returned do behind their callers is done: they give their leases back last.
func (w *World) Settled() {
	w.T.Helper()
	Eventually(w.T, "the leases given back", func() bool { return len(w.KeysLike(":lock")) == 0 })
}

// Fields counts the entries in Redis, of all partitions. It is how a test learns that a write has come there without
// asking for the token, which would bring it there.
func (w *World) Fields() func() int {
	rdb := w.Redis.Admin
	return func() int {
		ctx := context.Background()
		keys, err := w.Redis.Keys(ctx, w.Prefix+":*:tokens")
		if err != nil {
			return -1 // away
		}
		n := 0
		for _, k := range keys {
			n += int(rdb.HLen(ctx, k).Val()) - 1 // "v" is the version
		}
		return n
	}
}
