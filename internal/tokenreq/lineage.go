package tokenreq

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// Hash is what is remembered of a secret.
type Hash [16]byte

// HashSecret hashes a secret.
func HashSecret(secret string) Hash {
	h := sha256.Sum256([]byte(secret))
	return Hash(h[:16])
}

// String is what may be written of a secret.
func (h Hash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// AssertionKey is MSAL's partition key of an assertion (authority.AuthParams.AssertionHash).
func AssertionKey(assertion string) string {
	h := sha256.Sum256([]byte(assertion))
	return base64.URLEncoding.EncodeToString(h[:])
}

// Next is the lineage of the refresh token that an answer to the request has brought; owners are the partitions of the
// answer's user. The next of an account's is in the account's record, and so is its lineage.
func (r *Request) Next(owners []layout.ID) Lineage {
	if r.Assertion != "" {
		return Lineage{Kind: OnBehalfOfRefresh, Assertion: r.Assertion, Owners: joined(owners)}
	}
	return Lineage{Kind: RotatedRefresh, First: r.Lineage.First}
}

// OwnersOf are the partitions of the user on whose behalf a refresh token is.
func (l Lineage) OwnersOf() []layout.ID {
	var pids []layout.ID
	for _, name := range strings.Fields(l.Owners) {
		pids = append(pids, layout.ID(name))
	}
	return pids
}

func joined(ids []layout.ID) string {
	names := make([]string, len(ids))
	for i, pid := range ids {
		names[i] = string(pid)
	}
	return strings.Join(names, " ")
}
