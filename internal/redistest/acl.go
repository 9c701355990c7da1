package redistest

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// AddUser makes (or makes anew) a user that may do what rules say, in the language of ACL SETUSER:
// "~msal:* &msal:* -@all +get". It begins with nothing: no key, no channel, no command.
func (s *Server) AddUser(name, password, rules string) {
	args := []any{"ACL", "SETUSER", name, "reset", "on", ">" + password}
	for _, r := range Rules(rules) {
		args = append(args, r)
	}
	s.Do(args...)
}

// StartACL starts a server with one limited user and returns clients of the default user and of the limited one.
func StartACL(tb testing.TB, rules string) (s *Server, admin, limited *redis.Client) {
	tb.Helper()
	s = Start(tb)
	s.AddUser("limited", "limited-password", rules)
	return s, s.Client(), s.ClientAs("limited", "limited-password")
}
