package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// nodeError is one node's of a cluster.
type nodeError struct {
	addr string
	err  error
}

func (e *nodeError) Error() string { return e.err.Error() }
func (e *nodeError) Unwrap() error { return e.err }

// explain adds what to change to an error of the first commands.
func (t *target) explain(err error) error {
	at := strings.Join(t.addrs, ", ")
	var node *nodeError
	if errors.As(err, &node) {
		at = "the cluster's node " + node.addr
	}
	return fmt.Errorf("connect: Redis at %s: %s (%w)", at, t.advice(err), err)
}

func (t *target) advice(err error) string {
	var (
		unknownCA x509.UnknownAuthorityError
		wrongName x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
		refusal   redis.Error
		ne        net.Error
	)
	text := err.Error()
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case t.credentials != nil && has("failed to subscribe to streaming credentials"):
		return "there is no login for it from Options.Credentials"
	case t.credentials != nil && has("WRONGPASS"):
		return "it refuses the login of Options.Credentials: make its identity a user of this Redis (on Azure a data " +
			"access policy assignment)"
	case errors.As(err, &unknownCA):
		return "its certificate is of a CA that this machine does not know: give that CA (Options.TLSConfig.RootCAs)"
	case errors.As(err, &wrongName):
		return "its certificate is for another name: write a host of the certificate into the URL, or set " +
			"Options.TLSConfig.ServerName"
	case errors.As(err, &invalid):
		return "its certificate is not valid now, or not for this use: renew it, or set this machine's clock"
	case errors.As(err, &record):
		return "it does not speak TLS on this port: use its TLS port (6380 or 10000 on Azure), or redis:// " +
			"on a private network"
	case has("certificate required", "bad certificate"):
		return "it wants a client certificate: give one (Options.TLSConfig.Certificates)"
	case has("all sentinels specified in configuration are unreachable"):
		if has("redis: nil") {
			return "the Sentinels know no primary of this name: set master_name to the one in sentinel.conf"
		}
		if has("NOAUTH", "WRONGPASS") {
			return "the Sentinels refuse the login: user:password before the hosts are theirs, the server's go into the " +
				"parameters username and password"
		}
		return "no Sentinel answers: check their addresses and port (26379), the firewall, and whether they want TLS"
	case has("NOAUTH"):
		return "it wants a password: write redis://user:password@host (without a user redis://:password@host)"
	case has("WRONGPASS", "invalid password", "without any password configured"):
		return "user or password is wrong, or the user is off: check the URL, and percent-encode @ : / ? # and % in it"
	case has("NOPERM"):
		return "the user may not do what the library needs: give it the rule of docs/redis.md"
	case has("LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"):
		return "it is not ready: wait, and look at its log and at CLUSTER INFO"
	case has("max number of clients"):
		return "it takes no more connections: raise maxclients, or lower pool_size"
	case has(noSelect, "DB index is out of range", "unknown command 'select'"):
		return "it does not have this database: remove the number after the host, and use Options.Prefix of the cache"
	case errors.As(err, &dns):
		return "its name is not known here: check the host, and the private DNS zone where it has a private endpoint"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check host and port (6379, 6380 for TLS, 10000 for Azure Managed " +
			"Redis), and that it runs"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		if t.tls == nil {
			return "it ended the connection: if it wants TLS, write rediss://"
		}
		return "it ended the connection: check its log, and whether it wants a client certificate"
	case errors.As(err, &refusal):
		return "it refuses"
	case t.credentials != nil && errors.Is(err, context.DeadlineExceeded):
		return "it does not answer, or Options.Credentials has no login yet: check host, port and firewall, and " +
			"the way to Entra ID"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		if t.tls == nil {
			return "it does not answer: check host, port and firewall; if it wants TLS, write rediss://"
		}
		return "it does not answer: check host, port and firewall; if it does not speak TLS, write redis://"
	}
	return "no connection: check host, port, firewall and whether it wants TLS"
}
