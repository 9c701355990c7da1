package harness

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

const (
	LimitedUser     = "limited"
	LimitedPassword = "the limited user's password"
)

// AclRule is a rule of docs/redis.md: what is documented is what is tested.
func AclRule(t testing.TB, name string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)\n```" + name + "\n(.*?)```").FindStringSubmatch(ReadFile(t, "docs/redis.md"))
	if m == nil {
		t.Fatalf("docs/redis.md has no rule %s", name)
	}
	return strings.Join(strings.Fields(m[1]), " ")
}

// NoRefusedCommands checks that Redis has refused nobody anything.
func NoRefusedCommands(t testing.TB, servers ...*redistest.Server) {
	t.Helper()
	for _, s := range servers {
		for _, e := range Refusals(t, s.Client()) {
			t.Errorf("refused: %s %s (%s)", e.Reason, e.Object, e.Context)
		}
	}
}

func Refusals(t testing.TB, rdb *redis.Client) []*redis.ACLLogEntry {
	t.Helper()
	entries, err := rdb.ACLLog(context.Background(), 10_000).Result()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
