package msalredis

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// formatVersion is part of every key: a format that cannot live beside this one gets another.
const formatVersion = "v1"

// keys builds every name that this package uses in Redis. Names are hashes, because MSAL's own keys hold user,
// tenant and client ids and scopes; they are not keyed, so that rotating the sealing keys never changes a name.
// What belongs together carries the same hash tag and so lives in one cluster slot.
// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
type keys struct{ prefix string }

// id is the hashed name of a partition (pid) or of a request identity (rid).
type id string

// hashID hashes parts under a domain of their own. Lengths are hashed too, so that no two lists of parts coincide.
func hashID(domain string, parts ...string) id {
	h := sha256.New()
	var n [8]byte
	for _, p := range append([]string{domain}, parts...) {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return id(base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18]))
}

func partitionID(key string) id            { return hashID("partition", key) }
func fieldName(section, key string) string { return string(hashID("entry", section, key)) }

func (k keys) of(i id, what string) string {
	return k.prefix + ":" + formatVersion + ":{" + string(i) + "}:" + what
}

func (k keys) tokens(pid id) string   { return k.of(pid, "tokens") }
func (k keys) rids(pid id) string     { return k.of(pid, "rids") }
func (k keys) response(rid id) string { return k.of(rid, "response") }
func (k keys) pause(rid id) string    { return k.of(rid, "pause") }
func (k keys) tombstone(i id) string  { return k.of(i, "tombstone") }
func (k keys) lock(i id) string       { return k.of(i, "lock") }
func (k keys) fence(i id) string      { return k.of(i, "fence") }
func (k keys) accounts() string       { return k.prefix + ":" + formatVersion + ":{accounts}:list" }
func (k keys) changes() string        { return k.prefix + ":" + formatVersion + ":changes" }

// checkPrefix keeps the prefix from changing a key's hash tag, and from making keys that tools cannot handle.
func checkPrefix(prefix string) error {
	if strings.ContainsAny(prefix, "{} \t\r\n\x00") {
		return fmt.Errorf("msalredis: Options.Prefix %q: braces and white space are not allowed", prefix)
	}
	if len(prefix) > 128 {
		return fmt.Errorf("msalredis: Options.Prefix: %d bytes, at most 128 are allowed", len(prefix))
	}
	return nil
}
