package entratest

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config configures [NewServer]. The zero value, and nil, are ready to use.
type Config struct {
	// Addr is the address to listen on. Default: 127.0.0.1:0, a free port.
	Addr string

	// Tenants are the tenants that exist, by GUID or domain name. Default: every well-formed name is a tenant.
	Tenants []string

	// RotateRefreshTokens makes a refresh token die when it is redeemed. Entra ID does not do that for the
	// clients of this package, other providers do; code that survives it loses no token. Default: false.
	// [Behavior].RotateRefreshTokens changes it later.
	RotateRefreshTokens bool

	// Logger receives one debug line per request, without secrets. Default: none.
	Logger *slog.Logger
}

// Server is a running emulator. Its methods are safe for concurrent use.
type Server struct {
	log     *slog.Logger
	tenants map[string]bool // by GUID; nil: all
	key     *signingKey

	host   string // 127.0.0.1:port
	caPEM  []byte
	caPool *x509.CertPool
	http   *http.Server

	client   func() *http.Client
	close    sync.Once
	closeErr error
	serving  sync.WaitGroup // the accept loop
	conns    sync.WaitGroup // connections, from StateNew to StateClosed

	// mu guards what follows. It is never held while signing, waiting or calling out.
	mu       sync.Mutex
	closed   bool
	running  int        // handlers
	idle     *sync.Cond // on mu: running has become 0
	behavior Behavior
	apps     map[string]*App
	users    map[string]*user // by lower-case user name and by object ID
	codes    map[string]*authCode
	devices  map[string]*device // by device code
	refresh  map[string]*refreshToken
	domains  map[string]string // tenants of domains, by GUID
	consents map[consent][]string
	passed   map[string]bool   // sessions that satisfied conditional access
	answers  map[string]uint64 // by what Behavior.VaryLifetimes goes by
	faults   []*fault
	hooks    []*hook
	recorder recorder
	secrets  secretLog
}

// NewServer starts an emulator with a certificate authority of its own. The caller closes it.
func NewServer(cfg *Config) (*Server, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	key, err := processKey()
	if err != nil {
		return nil, fmt.Errorf("entratest: signing key: %w", err)
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("entratest: certificate authority: %w", err)
	}
	addr := cfg.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("entratest: Config.Addr: %w", err)
	}

	s := &Server{
		log:      cfg.Logger,
		key:      key,
		host:     listener.Addr().String(),
		caPEM:    ca.pem,
		caPool:   ca.pool,
		behavior: Behavior{RotateRefreshTokens: cfg.RotateRefreshTokens},
		apps:     map[string]*App{},
		users:    map[string]*user{},
		codes:    map[string]*authCode{},
		devices:  map[string]*device{},
		refresh:  map[string]*refreshToken{},
		domains:  map[string]string{},
		consents: map[consent][]string{},
		passed:   map[string]bool{},
		answers:  map[string]uint64{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, t := range cfg.Tenants {
		if s.tenants == nil {
			s.tenants = map[string]bool{}
		}
		s.tenants[tenantID(t)] = true
	}
	s.idle = sync.NewCond(&s.mu)
	s.client = sync.OnceValue(func() *http.Client { return &http.Client{Transport: s.Transport()} })
	var protocols http.Protocols
	protocols.SetHTTP1(true) // Entra ID negotiates no HTTP/2
	s.http = &http.Server{
		Protocols: &protocols,
		Handler:   s.tracked(s.routes()),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{ca.server}, MinVersion: tls.VersionTLS12},
		// Clients that hang up or distrust the certificate are part of what is tested, and no news.
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: 30 * time.Second,
		ConnState:         s.countConn,
	}
	s.serving.Go(func() {
		// ServeTLS returns ErrServerClosed after Close; an earlier end shows as refused connections.
		if err := s.http.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("entratest: server ended", "error", err)
		}
	})
	return s, nil
}

// countConn lets Close wait for the connections' goroutines, which http.Server.Close does not.
func (s *Server) countConn(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Done()
	}
}

// Close closes the listener and every connection, ends hung requests, and waits until no handler
// runs: an [Server.OnTokenRequest] hook that blocks must be let go first. It may be called again.
func (s *Server) Close() error {
	s.close.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		// Closing a connection ends the contexts of its requests, which is what hung ones wait for.
		s.closeErr = s.http.Close()
		// In this order: no connection is added once the accept loop has ended.
		s.serving.Wait()
		s.conns.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for s.running > 0 {
			s.idle.Wait()
		}
	})
	return s.closeErr
}

// tracked lets Close wait for handlers, and ends those that begin on a connection which was accepted as Close ran.
func (s *Server) tracked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		s.running++
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.running--; s.running == 0 {
				s.idle.Broadcast()
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// Host is the address the server listens on, host:port.
func (s *Server) Host() string { return s.host }

// URL is https:// and [Server.Host].
func (s *Server) URL() string { return "https://" + s.host }

// Authority is the MSAL authority of a tenant by its production name, which the transports of
// this package bring to this server.
func (s *Server) Authority(tenant string) string {
	return "https://" + publicCloud.network + "/" + tenant
}

// LocalAuthority is the authority of a tenant by the server's own address. MSAL asks
// login.microsoftonline.com about hosts it does not know (oauth/resolvers.go,
// openIDConfigurationEndpoint), so combine it with WithInstanceDiscovery(false) unless the
// client uses a transport of this package.
func (s *Server) LocalAuthority(tenant string) string { return s.URL() + "/" + tenant }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.serveToken)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/devicecode", s.counted("devicecode", s.serveDeviceCode))
	mux.HandleFunc("GET /{tenant}/oauth2/v2.0/authorize", s.counted("authorize", s.serveAuthorize))
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration",
		s.counted("openid-configuration", s.serveOpenIDConfiguration))
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.counted("jwks", s.serveKeys))
	mux.HandleFunc("GET /common/discovery/instance", s.counted("instance", s.serveInstanceDiscovery))
	mux.HandleFunc("GET /common/UserRealm/{user}", s.counted("userrealm", s.serveUserRealm))
	mux.HandleFunc("GET /entratest/requests", s.serveRequests)
	mux.HandleFunc("/", s.counted("other", http.NotFound))
	return mux
}

// signingKey signs every token of this process's emulators.
type signingKey struct {
	private *rsa.PrivateKey
	id      string // kid
	cert    []byte // DER, for x5c
}
