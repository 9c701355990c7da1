package connect

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9/auth"
)

// ErrURL: the URL, or the [Options] beside it, must be changed. The error that arrives says how. It holds no part of
// the URL but the names of parameters, because a password with an unencoded character may end up in any other.
var ErrURL = errors.New("connect: the Redis URL cannot be used")

type kind int

const (
	single kind = iota
	cluster
	sentinel
)

// target is a URL that was understood.
type target struct {
	kind        kind
	url         *url.URL // in go-redis's language
	addrs       []string
	tls         *tls.Config // nil: none
	credentials auth.StreamingCredentialsProvider
}

const form = "write redis://user:password@host:6379, or rediss:// for TLS"

const encode = "percent-encode @ : / ? # and % in user and password (@ is %40)"

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrURL}, args...)...)
}

func parse(text string, opts *Options) (*target, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if form, ok := urlFor(text); ok {
		return nil, bad("it is a connection string of StackExchange.Redis, as Azure's portal shows it: write %s; %s", form,
			encode)
	}
	scheme, rest, ok := strings.Cut(strings.TrimSpace(text), "://")
	switch {
	case strings.TrimSpace(text) == "":
		return nil, bad("it is empty (is the environment variable set?); %s", form)
	case !ok:
		return nil, bad("%s", form)
	}
	if scheme = strings.ToLower(scheme); scheme != "redis" && scheme != "rediss" && scheme != "unix" {
		return nil, bad("its scheme is none of redis, rediss and unix; %s", form)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	if strings.Contains(tail, "@") {
		// An unencoded / ? or # has ended the authority early.
		return nil, bad("an @ stands after a / ? or #; %s", encode)
	}
	at := strings.LastIndex(authority, "@")
	hosts := strings.Split(authority[at+1:], ",")
	u, err := url.Parse(scheme + "://" + authority[:at+1] + hosts[0] + tail)
	if err != nil { // it would quote the URL
		return nil, bad("%s, and %s", form, encode)
	}
	if u.User != nil && o.Credentials == nil {
		// go-redis would not log in, and be nobody else but the default user.
		password, _ := u.User.Password()
		if name := u.User.Username(); password == "" && name != "" && name != "default" {
			return nil, bad("what stands before the @ has no password: write user:password@host, or :password@host")
		}
	}
	if u.Fragment != "" {
		return nil, bad("a # stands in it; %s", encode)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || !parameters.MatchString(u.RawQuery) {
		return nil, bad("its parameters are not name=value&name=value; %s", encode)
	}
	t := &target{url: u, credentials: o.Credentials}
	if scheme == "unix" {
		if authority[at+1:] != "" || q.Has("addr") {
			return nil, bad("write unix:///path, or unix://user:password@/path")
		}
		t.addrs = []string{u.Path}
	} else {
		for i, h := range append(hosts, q["addr"]...) {
			addr, err := address(h, i < len(hosts))
			if err != nil {
				return nil, err
			}
			t.addrs = append(t.addrs, addr)
		}
		q.Del("addr")
		u.Host = t.addrs[0]
		for _, addr := range t.addrs[1:] {
			q.Add("addr", addr)
		}
	}
	switch {
	case q.Has("master_name"):
		t.kind = sentinel
		if q.Get("master_name") == "" {
			return nil, bad("master_name is empty: it is the name in the line \"sentinel monitor NAME host port " +
				"quorum\" of sentinel.conf")
		}
	case len(t.addrs) > 1:
		t.kind = cluster
	}
	if err := t.check(q); err != nil {
		return nil, err
	}
	skip := truth(q.Get("skip_verify"))
	q.Del("skip_verify")
	u.RawQuery = q.Encode()
	return t, t.secure(scheme, skip, o)
}

// limits are what the numbers of a URL may be: go-redis allocates for them, or panics.
var limits = map[string]struct{ least, most int }{
	"pool_size":                  {0, connsAtMost},
	"max_concurrent_dials":       {0, connsAtMost},
	"min_idle_conns":             {0, connsAtMost},
	"max_idle_conns":             {0, connsAtMost},
	"max_active_conns":           {0, connsAtMost},
	"pipeline_pool_size":         {-1, connsAtMost},
	"pipeline_read_buffer_size":  {0, bufferAtMost},
	"pipeline_write_buffer_size": {0, bufferAtMost},
}

const (
	connsAtMost  = 10_000   // Redis's own default of maxclients
	bufferAtMost = 16 << 20 // bytes, of one connection; go-redis's default is 128 KiB
)

// check refuses what go-redis takes and the cache cannot use.
func (t *target) check(q url.Values) error {
	for name, values := range q {
		if len(values) > 1 && name != "addr" {
			return bad("the parameter %s stands in it twice: remove one", name) // go-redis takes the last, url.Values the first
		}
		n, err := strconv.Atoi(values[0])
		if l, ok := limits[name]; ok && err == nil && (n < l.least || n > l.most) {
			return bad("%s must be between %d and %d", name, l.least, l.most)
		}
	}
	for _, name := range []string{"read_only", "route_by_latency", "route_randomly", "replica_only",
		"use_disconnected_replicas"} {
		if truth(q.Get(name)) {
			return bad("remove %s: tokens are read from the primary, a replica's may be old", name)
		}
	}
	db := strings.Trim(t.url.Path, "/")
	if t.url.Scheme == "unix" {
		db = ""
	}
	if strings.Trim(db, "0123456789") != "" {
		return bad("what follows the host is the number of a database, such as /0; %s", encode)
	}
	if t.kind == cluster && (db != "" && db != "0" || q.Get("db") != "" && q.Get("db") != "0") {
		return bad("a cluster has database 0 only: remove the number after the host, and use Options.Prefix of the cache")
	}
	return nil
}

// secure decides on TLS.
func (t *target) secure(scheme string, skip bool, o Options) error {
	if scheme != "rediss" {
		if o.TLSConfig != nil {
			return bad("Options.TLSConfig is set, and the URL does not ask for TLS: write rediss://")
		}
		return nil
	}
	t.tls = &tls.Config{}
	if o.TLSConfig != nil {
		t.tls = o.TLSConfig.Clone()
	}
	t.tls.MinVersion = max(t.tls.MinVersion, tls.VersionTLS12)
	t.tls.InsecureSkipVerify = t.tls.InsecureSkipVerify || skip
	if t.tls.InsecureSkipVerify && !o.InsecureSkipVerify {
		return bad("TLS without verification shows tokens and passwords to whoever sits between: remove skip_verify and " +
			"give the CA (Options.TLSConfig.RootCAs), or set Options.InsecureSkipVerify")
	}
	if t.tls.ServerName == "" && t.kind == single {
		// A cluster behind one name gives its nodes by address (Azure): their certificate has the name. A Sentinel's name is
		// not that of the primary.
		t.tls.ServerName = t.url.Hostname()
	}
	return nil
}

// address is a host and Redis's port where there is none. What is neither a name nor an address is refused unseen: a :
// or , in place of the @ makes a host of the password, and hosts are shown in errors, in go-redis's log and to name
// servers.
func address(text string, portless bool) (string, error) {
	m := hostPort.FindStringSubmatch(text)
	var ip error
	if m != nil && m[1] != "" {
		m[1] = strings.Replace(m[1], "%25", "%", 1)
		_, ip = netip.ParseAddr(m[1])
	}
	if m == nil || ip != nil || m[3] == "" && !portless {
		if text == "" || text[0] == ':' && strings.Trim(text[1:], "0123456789") == "" {
			return "", bad("a host is missing, alone, before a comma or between two commas: write localhost for this machine")
		}
		return "", bad("a host is not written host:port; %s, and %s", form, encode)
	}
	port := or(m[3], "6379")
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", bad("a port is not between 1 and 65535")
	}
	return net.JoinHostPort(m[1]+m[2], port), nil
}

var (
	// An address in brackets, which may have a zone, or a name; and a port.
	hostPort = regexp.MustCompile(
		`^(?:\[([0-9A-Fa-f:.]+(?:%(?:25)?[\w.-]+)?)\]|([\pL\pN](?:[\pL\pN_.-]*[\pL\pN.])?))(?::([0-9]{1,5}))?$`)
	// Without a value, what looks like a name may be what follows an unencoded ? of a password.
	parameters = regexp.MustCompile(`^([a-z_]+=[^&]*(&|$))*$`)
)

func truth(s string) bool { return s == "true" || s == "1" }

var (
	unexpected = regexp.MustCompile(`unexpected option: (.*)`)
	invalid    = regexp.MustCompile(`invalid (\w+) (?:number|duration|boolean)`)
)

// badParameter says which parameter go-redis refuses, and not what its value is.
func badParameter(err error) error {
	if m := unexpected.FindStringSubmatch(err.Error()); m != nil {
		return bad("it has parameters that go-redis does not know for this kind of server: %s", m[1])
	}
	if m := invalid.FindStringSubmatch(err.Error()); m != nil {
		return bad("its parameter %s has a value of another kind; durations are written 250ms or 2s", m[1])
	}
	return bad("a parameter has a value that go-redis does not take; each addr must be host:port")
}
