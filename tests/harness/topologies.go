package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// Topologies are the shapes in which Redis is met.
var Topologies = map[string]func(t testing.TB, opts ...redistest.Option) *Deployment{
	"standalone": func(t testing.TB, opts ...redistest.Option) *Deployment {
		return Alone(t, redistest.Start(t, opts...), Address{})
	},
	"resp2": func(t testing.TB, opts ...redistest.Option) *Deployment {
		return Alone(t, redistest.Start(t, opts...), Address{Protocol: 2})
	},
	"tls": func(t testing.TB, opts ...redistest.Option) *Deployment {
		s := redistest.StartTLS(t, opts...)
		return Alone(t, s.Server, Address{CAFile: s.CAFile})
	},
	"client-certificates": func(t testing.TB, opts ...redistest.Option) *Deployment {
		const password = "the password of redis"
		s := redistest.StartTLS(t, append(opts, redistest.ClientCertificate(), redistest.Password(password))...)
		return Alone(t, s.Server,
			Address{Password: password, CAFile: s.CAFile, CertFile: s.ClientCertFile, KeyFile: s.ClientKeyFile})
	},
	// The rule of docs/redis.md, with its prefix; nothing may be refused.
	"acl": func(t testing.TB, opts ...redistest.Option) *Deployment {
		s := redistest.Start(t, append(opts, user(AclRule(t, "acl")))...)
		d := Alone(t, s, Address{Username: LimitedUser, Password: LimitedPassword, Silent: true})
		d.prefix, d.limited = "msal", true
		t.Cleanup(d.audit)
		return d
	},
	"acl-cluster": func(t testing.TB, opts ...redistest.Option) *Deployment {
		d := clustered(t, append(opts, user(AclRule(t, "acl")+" "+AclRule(t, "acl-cluster")))...)
		d.Username, d.Password, d.Silent, d.prefix, d.limited = LimitedUser, LimitedPassword, true, "msal", true
		t.Cleanup(d.audit)
		return d
	},
	// With clients that send to a replica whatever may be sent there: the library reads by scripts, which may not.
	"cluster": func(t testing.TB, opts ...redistest.Option) *Deployment {
		d := clustered(t, opts...)
		d.Replicas = true
		return d
	},
	"sentinel": func(t testing.TB, opts ...redistest.Option) *Deployment {
		return Replicated(t, redistest.StartReplicated(t, opts...))
	},
	"restricted": func(t testing.TB, opts ...redistest.Option) *Deployment {
		s := redistest.Start(t, append(opts, redistest.Refuse(refused...))...)
		for _, command := range refused {
			err := s.Client().Do(context.Background(), command, "x").Err()
			if err == nil || !strings.Contains(err.Error(), "unknown command") {
				t.Fatalf("%s: %v", command, err)
			}
		}
		return Alone(t, s, Address{})
	},
	// Connections live for a moment, and each new one needs the password of its time.
	"rotating-password": func(t testing.TB, opts ...redistest.Option) *Deployment {
		users := filepath.Join(t.TempDir(), "users.acl")
		if err := os.WriteFile(users, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s := redistest.Start(t, append(opts, redistest.Args("--aclfile", users))...)
		return Alone(t, s, Address{Username: LimitedUser, PasswordFile: rotate(t, s), ConnMaxLifetime: 50 * time.Millisecond})
	},
}

// refused are commands that managed services refuse. CLIENT is more than CLIENT SETINFO, which cannot be refused alone.
var refused = []string{"CONFIG", "SELECT", "SCRIPT", "FLUSHALL", "FLUSHDB", "CLIENT", "SCAN", "DEBUG", "MULTI", "WATCH"}

// user is the limited user under a rule of docs/redis.md, known to the server whenever it starts.
func user(rule string) redistest.Option {
	hash := sha256.Sum256([]byte(LimitedPassword))
	args := []string{"--user", LimitedUser, "on", "#" + hex.EncodeToString(hash[:])}
	return redistest.Args(append(args, redistest.Rules(rule)...)...)
}

// OnlyStandalone starts a test that starts a Redis of its own shape: once is enough.
func OnlyStandalone(t *testing.T) {
	t.Helper()
	if Topology != "standalone" {
		t.Skip("starts a Redis of its own, whatever the topology")
	}
}
