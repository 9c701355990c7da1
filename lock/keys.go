package lock

import (
	"errors"
	"strings"
)

// names are the three places of one lock in Redis. The lease and the fence are in one cluster slot, since one script
// touches both; a channel has no slot.
type names struct {
	lease   string // as the caller gave it
	fence   string
	channel string
}

var errKey = errors.New("lock: a key must not be empty, nor contain '}' outside of a hash tag")

// namesOf derives the siblings of a key.
//
// A key with a hash tag ("msal:v1:{r}:lock") keeps it: its siblings are msal:v1:{r}:fence and msal:v1:{r}:wake; without
// the suffix ":lock" they are appended to the whole key. In a key without one the whole key decides the slot, so the
// whole key becomes the tag of its siblings: "job" has {job}:fence and {job}:wake. That works unless the key holds a
// '}', which would end the tag early: such keys are refused.
func namesOf(key string) (names, error) {
	if hasHashTag(key) {
		base := strings.TrimSuffix(key, ":lock")
		return names{lease: key, fence: base + ":fence", channel: base + ":wake"}, nil
	}
	if key == "" || strings.Contains(key, "}") {
		return names{}, errKey
	}
	return names{lease: key, fence: "{" + key + "}:fence", channel: "{" + key + "}:wake"}, nil
}

// hasHashTag is the rule of the cluster specification: something between the first '{' and the first '}' after it.
func hasHashTag(key string) bool {
	_, rest, ok := strings.Cut(key, "{")
	return ok && strings.Index(rest, "}") > 0
}
