package entratest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"
)

// authority is the certificate authority of one server, and the only certificate it issued.
type authority struct {
	pem    []byte
	pool   *x509.CertPool
	server tls.Certificate
}

// newAuthority makes ECDSA keys: they cost microseconds where RSA costs a test a quarter of a second.
func newAuthority() (*authority, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "entratest CA"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(30 * 24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: publicCloud.network},
		NotBefore:    ca.NotBefore,
		NotAfter:     ca.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		DNSNames:     []string{"localhost", "login.entratest.localhost"},
	}
	for _, c := range clouds {
		leaf.DNSNames = append(leaf.DNSNames, c.aliases...)
	}
	for _, suffix := range loginSuffixes {
		leaf.DNSNames = append(leaf.DNSNames, "*"+suffix)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	a := &authority{
		pem:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		pool:   x509.NewCertPool(),
		server: tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key},
	}
	a.pool.AppendCertsFromPEM(a.pem)
	return a, nil
}

// CAPEM is the server's certificate authority, for another process to trust.
func (s *Server) CAPEM() []byte { return append([]byte(nil), s.caPEM...) }

// CertPool is the server's certificate authority as a pool.
func (s *Server) CertPool() *x509.CertPool { return s.caPool.Clone() }

// Transport returns a new pooled transport that trusts this server and reaches it under
// Microsoft's login names too. Each call makes one, as each instance of a fleet has one. Its connections end with the
// server; a caller that needs them gone earlier closes the idle ones.
func (s *Server) Transport() *http.Transport { return newTransport(s.host, s.caPool) }

// HTTPClient returns a client over one [Server.Transport], the same each time. It is what MSAL's WithHTTPClient
// and azcore.ClientOptions.Transport want.
func (s *Server) HTTPClient() *http.Client { return s.client() }

// Transport is [Server.Transport] for another process, given the server's [Server.Host] (or URL) and [Server.CAPEM].
// It trusts nothing but that authority and ignores proxy settings. The caller closes its idle connections.
func Transport(addr string, caPEM []byte) (*http.Transport, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("entratest: caPEM holds no certificate")
	}
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "https://"), "/")
	if addr != "" {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("entratest: address of the emulator: %w", err)
		}
	}
	return newTransport(addr, pool), nil
}

// ClientFromPEM returns a client for [Server.URL] and [Server.LocalAuthority] in another process. It knows no
// address, so it refuses Microsoft's login names rather than let a test reach the real ones; [Transport] serves those.
func ClientFromPEM(caPEM []byte) (*http.Client, error) {
	t, err := Transport("", caPEM)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

func newTransport(addr string, pool *x509.CertPool) *http.Transport {
	var dialer net.Dialer
	return &http.Transport{
		DialContext: func(ctx context.Context, network, target string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(target); err == nil && isLoginHost(host) {
				if addr == "" {
					return nil, fmt.Errorf("entratest: no emulator address known for %s", host)
				}
				target = addr
			}
			return dialer.DialContext(ctx, network, target)
		},
		TLSClientConfig:       &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:     true, // a custom DialContext turns it off otherwise
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}
