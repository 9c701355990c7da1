package main

import (
	"io"
	"net"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// A Redis that ends is cut off too, perhaps while the network is: nobody gets through before both are over.
func TestCutsEndWithTheLast(t *testing.T) {
	redis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.New(io.Discard))
	proxy := toxiproxy.NewProxy(api, "redis", "127.0.0.1:0", redis.Addr().String())
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	defer proxy.Stop()
	s := &store{proxies: []*toxiproxy.Proxy{proxy}}
	through := func() bool {
		c, err := net.Dial("tcp", proxy.Listen)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	network, server := s.cut(), s.cut()
	for _, step := range []struct {
		mend func() error
		want bool
	}{{func() error { return nil }, false}, {server, false}, {network, true}} {
		if err := step.mend(); err != nil {
			t.Fatal(err)
		}
		if got := through(); got != step.want {
			t.Errorf("somebody gets through: %v, want %v", got, step.want)
		}
	}
}
