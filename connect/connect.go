package connect

import (
	"context"
	"crypto/tls"
	"fmt"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
)

// Options are what a URL cannot say. nil is the zero value.
type Options struct {
	// TLSConfig is for rediss:// URLs: RootCAs for a CA of one's own, Certificates for a server that asks for
	// one. It is copied. ServerName is the URL's host unless set; with several hosts each has its own.
	// Default: the system's CAs.
	TLSConfig *tls.Config

	// InsecureSkipVerify allows TLS without verification: skip_verify=true in the URL, or TLSConfig's field of this
	// name. By itself it turns nothing off: one of those two must be set too. Default false.
	InsecureSkipVerify bool

	// Credentials log in, instead of a user and password in the URL, and again when they change: an Entra ID login is
	// entralogin.New's. go-redis v9.23 cannot use them with Sentinel. Default: what the URL says.
	Credentials auth.StreamingCredentialsProvider
}

// Open makes a client and asks Redis nothing: a Redis that is away does not keep a service from starting, and a wrong
// password is found out later. The client of one address finds out with its first command whether that is a single
// server or a node of a cluster, and is a *redis.ClusterClient either way: transactions keep to one slot, and each
// command goes to one node. The caller closes the client. Errors wrap [ErrURL].
func Open(url string, opts *Options) (redis.UniversalClient, error) {
	t, err := parse(url, opts)
	if err != nil {
		return nil, err
	}
	return t.open()
}

// pingTimeout bounds Dial where the caller's context has no nearer end.
const pingTimeout = 10 * time.Second

// Dial makes a client as [Open] does and asks Redis whether it may be used: every primary of a cluster, and the one
// that Sentinel names. One address that turns out to be a node of a cluster gives a client of the cluster, else a
// *redis.Client. It takes 10 s at most. The caller closes the client.
//
// Errors say what to change, and hold neither a password nor the URL. Those of the URL itself wrap [ErrURL]; the others
// wrap what go-redis, net or crypto/tls said.
func Dial(ctx context.Context, url string, opts *Options) (redis.UniversalClient, error) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	t, err := parse(url, opts)
	if err != nil {
		return nil, err
	}
	client, err := t.dial(ctx, t.kind)
	if err != nil || t.kind != single {
		return client, err
	}
	inCluster, err := isCluster(ctx, client)
	if err == nil && !inCluster {
		return client, nil
	}
	_ = client.Close()
	if err != nil {
		return nil, t.explain(err)
	}
	return t.dial(ctx, cluster)
}

// dial makes a client of a kind, which may be another than the URL told of, and asks Redis whether it may be used.
func (t *target) dial(ctx context.Context, as kind) (redis.UniversalClient, error) {
	client, err := t.client(as)
	if err != nil {
		return nil, err
	}
	pinged := make(chan error, 1)
	go func() { pinged <- ping(ctx, client) }()
	select {
	case err = <-pinged:
	case <-ctx.Done():
		// go-redis gives Credentials no context, so one that has no token yet holds it for longer.
		if t.credentials != nil {
			go func() { <-pinged; _ = client.Close() }()
			return nil, t.explain(ctx.Err())
		}
		err = <-pinged
	}
	if err != nil {
		_ = client.Close()
		return nil, t.explain(err)
	}
	return client, nil
}

func ping(ctx context.Context, client redis.UniversalClient) error {
	c, ok := client.(*redis.ClusterClient)
	if !ok {
		return client.Ping(ctx).Err()
	}
	return c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		if err := node.Ping(ctx).Err(); err != nil {
			return &nodeError{addr: node.Options().Addr, err: err}
		}
		return nil
	})
}

const (
	dialTimeout = 2 * time.Second
	dialTries   = 2

	// Azure's load balancers forget connections that were idle for 4 minutes, without a word to either end:
	// https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset. Azure Managed Redis ends them after 10.
	idleAtMost = 3 * time.Minute
)

func poolSize() int { return max(20, 10*runtime.GOMAXPROCS(0)) }

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (t *target) dialer(timeout time.Duration) dialer {
	return bounded(redis.NewDialer(&redis.Options{DialTimeout: timeout, TLSConfig: t.tls}))
}

func (t *target) open() (redis.UniversalClient, error) {
	if t.kind != single {
		return t.client(t.kind)
	}
	o, err := t.options()
	if err != nil {
		return nil, err
	}
	return newEither(o), nil
}

func (t *target) client(as kind) (redis.UniversalClient, error) {
	if as == cluster && t.kind == cluster {
		o, err := redis.ParseClusterURL(t.url.String())
		if err != nil {
			return nil, badParameter(err)
		}
		o.ContextTimeoutEnabled, o.DisableIdentity = true, true
		o.DialTimeout, o.DialerRetries = or(o.DialTimeout, dialTimeout), or(o.DialerRetries, dialTries)
		o.ConnMaxIdleTime, o.PoolSize = or(o.ConnMaxIdleTime, idleAtMost), or(o.PoolSize, poolSize())
		o.TLSConfig, o.StreamingCredentialsProvider = t.tls, t.credentials
		o.Dialer = t.dialer(o.DialTimeout)
		return redis.NewClusterClient(o), nil
	}
	if as == sentinel {
		return t.failover()
	}
	o, err := t.options()
	if err != nil {
		return nil, err
	}
	if as == cluster {
		return redis.NewClusterClient(asClusterOptions(o)), nil
	}
	return redis.NewClient(o), nil
}

// options are those of a URL with one address.
func (t *target) options() (*redis.Options, error) {
	o, err := redis.ParseURL(t.url.String())
	if err != nil {
		return nil, badParameter(err)
	}
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.DialTimeout, o.DialerRetries = or(o.DialTimeout, dialTimeout), or(o.DialerRetries, dialTries)
	o.ConnMaxIdleTime, o.PoolSize = or(o.ConnMaxIdleTime, idleAtMost), or(o.PoolSize, poolSize())
	o.TLSConfig, o.StreamingCredentialsProvider = t.tls, t.credentials
	o.Dialer = t.dialer(o.DialTimeout)
	return o, nil
}

func (t *target) failover() (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(t.url.String())
	if err != nil {
		return nil, badParameter(err)
	}
	if t.credentials != nil {
		return nil, fmt.Errorf("%w: go-redis cannot use Options.Credentials with Sentinel; put user and password into "+
			"the URL's parameters username and password", ErrURL)
	}
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.DialTimeout, o.DialerRetries = or(o.DialTimeout, dialTimeout), or(o.DialerRetries, dialTries)
	o.ConnMaxIdleTime, o.PoolSize = or(o.ConnMaxIdleTime, idleAtMost), or(o.PoolSize, poolSize())
	o.TLSConfig = t.tls
	o.Dialer = t.dialer(o.DialTimeout)
	return redis.NewFailoverClient(o), nil
}
