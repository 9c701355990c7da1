package layout

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// version is part of every key: a format that cannot live beside this one gets another.
const version = "v1"

// Names builds every name that the cache uses in Redis. Names are hashes, because MSAL's own keys hold user,
// tenant and client ids and scopes; they are not keyed, so that rotating the sealing keys never changes a name.
// What belongs together carries the same hash tag and so lives in one cluster slot.
// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
type Names struct{ Prefix string }

// ID is the hashed name of a partition (pid) or of a request identity (rid).
type ID string

// idLength is that of every ID: 18 bytes in base64url.
const idLength = 24

// Usable tells whether an ID that was read from Redis, or typed, can be one: those are 24 characters of base64url, and
// nothing else is printed or made a key of. In keys of another form the hash tag may be empty, so that they lie in
// several slots, and a cluster refuses every script on them.
func (i ID) Usable() bool {
	for _, c := range []byte(i) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(i) == idLength
}

// HashID hashes parts under a domain of their own. Lengths are hashed too, so that no two lists of parts coincide.
func HashID(domain string, parts ...string) ID {
	said := withLength(make([]byte, 0, 512), domain)
	for _, p := range parts {
		said = withLength(said, p)
	}
	sum := sha256.Sum256(said)
	return ID(base64.RawURLEncoding.EncodeToString(sum[:18]))
}

func withLength(to []byte, part string) []byte {
	return append(binary.BigEndian.AppendUint64(to, uint64(len(part))), part...)
}

// PartitionID names the partition that MSAL calls key. Ids in it that differ in their letters' case alone name one
// thing: Entra ID compares them so, and MSAL folds them in the keys of its entries.
func PartitionID(key string) ID { return HashID("partition", FoldKey(key)) }

// FoldKey is what all spellings of one of MSAL's partition keys have in common.
func FoldKey(key string) string { return strings.ToLower(key) }

// FieldName is the field of a partition in which an entry is kept.
func FieldName(section, key string) string { return string(HashID("entry", section, key)) }

// EntryField is the field of an entry. Access tokens of one key that were asked for with other capabilities stand side
// by side.
func EntryField(e msaldoc.Entry) string {
	if e.Capabilities == "" || e.Capabilities == msaldoc.NoCapabilities {
		return FieldName(e.Section, e.Key)
	}
	return string(HashID("entry", e.Section, e.Key, e.Capabilities))
}

// VersionField is the one field of a partition that is no entry.
const VersionField = "v"

func (n Names) of(i ID, what string) string {
	return n.Prefix + ":" + version + ":{" + string(i) + "}:" + what
}

// Tokens is a partition's HASH: its version, and a field for each entry.
func (n Names) Tokens(pid ID) string { return n.of(pid, "tokens") }

// RIDs is a partition's ZSET by expiry of what was answered with its tokens; see [Member].
func (n Names) RIDs(pid ID) string { return n.of(pid, "rids") }

// Response is the STRING with the last token response of a request identity.
func (n Names) Response(rid ID) string { return n.of(rid, "response") }

// Pause is the STRING with the outcome after which nobody should ask yet.
func (n Names) Pause(rid ID) string { return n.of(rid, "pause") }

// Tombstone is the STRING that a removal leaves.
func (n Names) Tombstone(i ID) string { return n.of(i, "tombstone") }

// Lock is the lease of who asks Entra ID; package lock derives the name of its wake-up channel from it.
func (n Names) Lock(i ID) string { return n.of(i, "lock") }

// TombstoneLife is how long a removal is remembered: longer than any token lives (28 hours, with continuous access
// evaluation) and than any token request takes. What an instance has not seen confirmed for as long it does not rely
// on, write or restore.
// https://learn.microsoft.com/en-us/entra/identity/conditional-access/concept-continuous-access-evaluation
const TombstoneLife = 28 * time.Hour

// Accounts is the ZSET by expiry of the partitions of accounts written under MSAL's key "".
func (n Names) Accounts() string { return n.of("accounts", "list") }

// ChangeLog is the ZSET of the partitions whose removal was announced, by the number of the announcement.
func (n Names) ChangeLog() string { return n.of("changes", "log") }

// ChangeLogLength is how many announcements the change log keeps: more than come within LocalTTL but for a purge of
// thousands, after which each partition is asked about.
const ChangeLogLength = 1024

// Announced is the partition of an announcement in the change log.
func Announced(announcement string) (pid ID, ok bool) {
	pid = ID(announcement[strings.LastIndexByte(announcement, ' ')+1:])
	return pid, pid.Usable()
}

// Changes is the channel on which each [Change] is told.
func (n Names) Changes() string { return n.Prefix + ":" + version + ":changes" }

// Parse takes a key apart that was made by the methods above; ok is false for any other.
func (n Names) Parse(key string) (i ID, what string, ok bool) {
	rest, ok := strings.CutPrefix(key, n.Prefix+":"+version+":{")
	if !ok {
		return "", "", false
	}
	name, what, ok := strings.Cut(rest, "}:")
	return ID(name), what, ok && ID(name).Usable() && what != ""
}

// Member is one of [Names.RIDs]: what goes when the partition is removed.
type Member struct {
	Kind   string // MemberAnswer or MemberPartition
	Scopes string // as [MemberScopes] makes it
	ID     ID
}

// MemberScopes tells the scopes of members of one list apart: a short hash of what they name of their resource.
func MemberScopes(s msaldoc.Scopes) string {
	return string(HashID("scopes", s.Resource()...))[:12]
}

// The kinds of members: an answer, by its request identity, and a further partition of the same app.
const (
	MemberAnswer    = "r"
	MemberPartition = "p"
)

// String is the form in which a member is kept.
func (m Member) String() string { return m.Kind + " " + m.Scopes + " " + string(m.ID) }

// ParseMember reads a member; ok is false for what is none.
func ParseMember(text string) (m Member, ok bool) {
	kind, rest, _ := strings.Cut(text, " ")
	scopes, name, _ := strings.Cut(rest, " ")
	m = Member{kind, scopes, ID(name)}
	return m, m.ID.Usable()
}

// Change is what an instance tells the others of a partition on [Names.Changes].
type Change struct {
	From string // who tells
	ID   ID
	// Removed is what was removed of it; empty: something in the record is damaged, and who knows it is asked to mend it.
	Removed Tombstone
}

const damaged = "damaged"

// String is the form in which a change is told.
func (c Change) String() string {
	what := damaged
	if c.Removed.Latest() > 0 {
		what = c.Removed.String()
	}
	return c.From + " " + string(c.ID) + " " + what
}

// ParseChange reads a change at a time of Redis; ok is false for what is none, and for a removal of a time to come.
func ParseChange(text string, now redistime.Time) (c Change, ok bool) {
	from, rest, _ := strings.Cut(text, " ")
	name, what, _ := strings.Cut(rest, " ")
	c = Change{From: from, ID: ID(name)}
	if what != damaged {
		c.Removed = ParseTombstone(what, now)
		if c.Removed.Latest() == 0 {
			return Change{}, false
		}
	}
	return c, from != "" && c.ID.Usable()
}

// CheckPrefix keeps the prefix from changing a key's hash tag, and from making keys that tools cannot handle.
func CheckPrefix(prefix string) error {
	if strings.ContainsAny(prefix, "{} \t\r\n\x00") {
		return fmt.Errorf("msalredis: Options.Prefix %q: braces and white space are not allowed", prefix)
	}
	if len(prefix) > 128 {
		return fmt.Errorf("msalredis: Options.Prefix: %d bytes, at most 128 are allowed", len(prefix))
	}
	return nil
}
