package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
)

// site is instances behind one address.
type site struct {
	url   string
	world *world
	apps  []*app
	at    []*url.URL // of the instances
	undo  []func()
}

// open starts the instances and, on listener, the proxy before them.
func open(listener net.Listener, instances int, env func(string) string, redisURL string) (s *site, err error) {
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	s = &site{url: "http://localhost:" + port} // a registered http redirect URI must be localhost
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.world, err = newWorld(s.url, env, redisURL); err != nil {
		return s, err
	}
	s.undo = append(s.undo, s.world.Close)
	s.url = s.world.settings.publicURL
	for i := range instances {
		a, err := newApp(fmt.Sprint("instance ", i+1), s.world.settings)
		if err != nil {
			return s, err
		}
		s.undo = append(s.undo, a.close)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return s, err
		}
		s.undo = append(s.undo, serve(l, a.routes()))
		s.apps = append(s.apps, a)
		s.at = append(s.at, &url.URL{Scheme: "http", Host: l.Addr().String()})
	}
	s.undo = append(s.undo, serve(listener, s.front()))
	return s, nil
}

// front is the load balancer: each request goes to the next instance.
func (s *site) front() http.Handler {
	var next atomic.Int64
	mux := http.NewServeMux()
	mux.Handle("/", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(s.at[int(next.Add(1))%len(s.at)])
		r.SetXForwarded()
		r.Out.Host = r.In.Host // which the app compares with the Origin of what is posted
	}})
	if s.world.Entra == nil {
		return mux
	}
	// The emulator's pages, under this address: its certificate is one that no browser trusts.
	entra, _ := url.Parse(s.world.Entra.URL()) // as made from a host and port
	mux.Handle("GET /{tenant}/oauth2/v2.0/authorize", &httputil.ReverseProxy{
		Transport: s.world.settings.network,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(entra) },
	})
	mux.HandleFunc("GET /{tenant}/oauth2/v2.0/logout", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.url+"/", http.StatusFound) // the emulator has no session with the browser
	})
	return mux
}

func (s *site) close() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
}
