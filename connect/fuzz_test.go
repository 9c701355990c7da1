package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// FuzzOpen: whatever is written as a URL, it is a client with all that the cache wants of one, or an error that says
// what to change and shows no password.
func FuzzOpen(f *testing.F) {
	const secret = "sesame-0123"
	resolver := net.DefaultResolver // go-redis looks a client's host up
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no names here")
	}}
	f.Cleanup(func() { net.DefaultResolver = resolver })
	for _, s := range []string{
		"redis://user:" + secret + "@host:6379/3", "rediss://:" + secret + "@host?skip_verify=true",
		"unix://u:" + secret + "@/run/redis.sock?db=1",
		"redis://a:1,b:2,[::1]:3?addr=c:4&read_only=1",
		"rediss://s1,s2?master_name=m&username=u&password=" + secret + "&db=2",
		"redis://h?pool_size=-1", "redis://h?pool_size=2147483647", "redis://h?max_concurrent_dials=-1",
		"redis://h?db=0&db=1&addr=i",
		"redis://:" + secret + ":host:6379", "redis://:" + secret + ",host:6379", "redis://u:" + secret + ";host",
		"redis://u:p?" + secret + ":host", "redis://" + secret + "@host",
		"unix://:" + secret + "/run/redis.sock", "redis://,host", "redis://:6379", "redis://h?addr=:1",
		"rediss://s?master_name=m", "redis://[fe80::1%25eth0]:1",
		"redis://u:" + secret + "/#@host", "redis://h?" + secret, "REDIS://[::1",
		"rediss://h,i?dial_timeout=-1&pipeline_read_buffer_size=9e9",
		"n.redis.cache.windows.net:6380,password=" + secret + ",ssl=True,abortConnect=False",
		"rediss://h:1,user=u,password=" + secret + "/,ssl=False", "rediss://h:1,ssl=True,password=a@" + secret,
	} {
		for opts := range byte(4) {
			f.Add(s, opts)
		}
	}
	f.Fuzz(func(t *testing.T, text string, which byte) {
		opts := &Options{InsecureSkipVerify: which&1 != 0}
		if which&2 != 0 {
			opts.TLSConfig = &tls.Config{InsecureSkipVerify: which&4 != 0}
		}
		understood, err := parse(text, opts)
		if err == nil && understood.url.Query().Get("min_idle_conns") != "" {
			t.Skip() // go-redis would dial at once
		}
		client, err := Open(text, opts)
		if err != nil {
			if !errors.Is(err, ErrURL) || client != nil {
				t.Fatalf("%v, client %v", err, client)
			}
			if strings.Contains(err.Error(), secret) {
				t.Fatal("an error shows what stands in the URL")
			}
			return
		}
		defer client.Close()
		var (
			settings redis.Options
			config   *tls.Config
			one      bool
		)
		switch c := client.(type) {
		case *redis.ClusterClient:
			o := c.Options()
			settings = redis.Options{ContextTimeoutEnabled: o.ContextTimeoutEnabled, DisableIdentity: o.DisableIdentity,
				PoolSize: o.PoolSize}
			config = o.TLSConfig
			one = understood.kind == single
			if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
				t.Fatal("it reads from replicas")
			}
		case *redis.Client:
			settings, config = *c.Options(), c.Options().TLSConfig
			one = understood.kind == single
		}
		if !settings.ContextTimeoutEnabled || !settings.DisableIdentity || settings.PoolSize < 1 {
			t.Fatal("it lacks a setting that the cache wants")
		}
		if wanted := strings.HasPrefix(strings.ToLower(strings.TrimSpace(text)), "rediss:"); wanted != (config != nil) {
			t.Fatalf("TLS asked for %v, TLS used %v", wanted, config != nil)
		}
		if config != nil && (config.InsecureSkipVerify && !opts.InsecureSkipVerify || config.MinVersion < tls.VersionTLS12 ||
			one && config.ServerName == "") {
			t.Fatal("TLS without verification that nobody asked for")
		}
	})
}
