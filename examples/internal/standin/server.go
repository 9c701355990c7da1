package standin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// server is the APIs of one Serve, by host.
type server struct {
	hosts       []string
	address     string
	certificate *x509.Certificate

	mu      sync.Mutex
	answers map[string]map[int]int // host, status, how many
}

// Serve serves APIs at their real names, as in contoso.crm4.dynamics.com, to those who come by World.Network: over TLS,
// with HTTP/2.
func (w *World) Serve(apis map[string]http.Handler) error {
	s := &server{answers: map[string]map[int]int{}}
	for host := range apis {
		s.hosts = append(s.hosts, host)
		s.answers[host] = map[int]int{}
	}
	slices.Sort(s.hosts)
	cert, err := certificate(s.hosts)
	if err != nil {
		return err
	}
	t := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		api, ok := apis[r.Host]
		if !ok {
			http.Error(out, "nobody of this name is here", http.StatusMisdirectedRequest)
			return
		}
		counted := &statusWriter{ResponseWriter: out, count: func(status int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.answers[r.Host][status]++
		}}
		api.ServeHTTP(counted, r)
		counted.answer(http.StatusOK) // where the API has written nothing
	}))
	t.EnableHTTP2 = true
	t.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	t.StartTLS()
	s.address, s.certificate = t.Listener.Addr().String(), cert.Leaf
	w.transport.TLSClientConfig.RootCAs.AddCert(cert.Leaf)
	w.servers = append(w.servers, s)
	w.OnClose(func() {
		w.transport.CloseIdleConnections()
		t.Close()
	})
	return nil
}

// Answers is how often the API at host has answered with a status.
func (w *World) Answers(host string, status int) (n int) {
	for _, s := range w.servers {
		s.mu.Lock()
		n += s.answers[host][status]
		s.mu.Unlock()
	}
	return n
}

// seen is what an API has answered, as text: 7 x 200, 1 x 429. One that nobody called has "".
func (s *server) seen(host string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, status := range slices.Sorted(maps.Keys(s.answers[host])) {
		all = append(all, fmt.Sprint(s.answers[host][status], " x ", status))
	}
	return strings.Join(all, ", ")
}

// statusWriter counts an answer before anybody can read it: who has it may look at the count.
type statusWriter struct {
	http.ResponseWriter
	count    func(status int)
	answered bool
}

func (w *statusWriter) answer(status int) {
	if !w.answered {
		w.answered = true
		w.count(status)
	}
}

func (w *statusWriter) WriteHeader(status int) {
	w.answer(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(body []byte) (int, error) {
	w.answer(http.StatusOK)
	return w.ResponseWriter.Write(body)
}

// network brings a request to the API or to the Entra ID that stands at the name it is for.
func (w *World) network() *http.Transport {
	t := w.Entra.Transport()
	bring(t, func(host string) string {
		for _, s := range w.servers {
			if slices.Contains(s.hosts, host) {
				return s.address
			}
		}
		return ""
	})
	t.TLSClientConfig.RootCAs = w.Entra.CertPool() // to which those of the APIs are added
	return t
}

// bring makes a transport that brings requests to Entra ID bring others to their address, where they have one.
func bring(t *http.Transport, address func(host string) string) {
	entra := t.DialContext
	t.DialContext = func(ctx context.Context, network, target string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(target) // a target that has none is Entra ID's to refuse
		if at := address(host); host != "" && at != "" {
			var d net.Dialer
			return d.DialContext(ctx, network, at)
		}
		return entra(ctx, network, target)
	}
}

// certificate is a server's for some names.
func certificate(names []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "stand-in"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(30 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     names,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, err
}
