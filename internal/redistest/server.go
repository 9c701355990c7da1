package redistest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is one redis-server. Its methods may be called from several goroutines, except those that end, start, freeze
// or thaw it, which want one caller at a time.
type Server struct {
	proc   *process
	conf   config
	report func(error)

	mu      sync.Mutex
	clients []interface{ Close() error }
	admin   *redis.Client
	closed  bool
}

type config struct {
	args       []string
	password   string
	persistent bool
	tls        *tls.Config       // as a client needs it
	sentinel   string            // path of a sentinel.conf; empty: a data server
	hidden     map[string]string // what refused commands are called for Do
}

// Option changes how a server is started.
type Option func(*config)

// Args adds arguments to redis-server's command line: Args("--maxmemory", "1mb").
func Args(args ...string) Option { return func(c *config) { c.args = append(c.args, args...) } }

// Password makes the default user ask for a password.
func Password(password string) Option { return func(c *config) { c.password = password } }

// Persistent keeps the data over Stop, Kill and Restart (an append-only file, synced on every write).
func Persistent() Option { return func(c *config) { c.persistent = true } }

// Refuse makes the server deny that it knows commands, as managed services do. [Server.Do] and the helpers built on it
// go on using them, by names that nobody else knows.
func Refuse(commands ...string) Option {
	return func(c *config) {
		if c.hidden == nil {
			c.hidden = map[string]string{}
		}
		for _, name := range commands {
			b := make([]byte, 8)
			_, _ = rand.Read(b) // never fails
			c.hidden[name] = name + "-" + hex.EncodeToString(b)
			c.args = append(c.args, "--rename-command", name, c.hidden[name])
		}
	}
}

// Start starts a server that ends with the test.
func Start(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	s, err := Launch(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	s.adopt(tb)
	return s
}

// adopt makes the server the test's: it ends with it, and its helpers fail it.
func (s *Server) adopt(tb testing.TB) {
	tb.Cleanup(func() { _ = s.Close() })
	s.report = func(err error) {
		tb.Helper()
		tb.Fatal(err)
	}
}

// Launch starts a server for a program that is not a test. The caller calls [Server.Close].
func Launch(opts ...Option) (*Server, error) {
	var conf config
	for _, o := range opts {
		o(&conf)
	}
	binary, err := findBinary("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		return nil, fmt.Errorf("redistest: %w", err)
	}
	for range 10 {
		var p *process
		if p, err = newProcess(binary, dir, conf); err != nil {
			break
		}
		if err = p.start(); err == nil {
			s := &Server{proc: p, conf: conf, report: func(err error) { panic(err) }}
			s.admin = s.newClient(s.Options())
			return s, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
		_ = os.Remove(p.logFile())
	}
	_ = os.RemoveAll(dir)
	return nil, err
}

func newProcess(binary, dir string, conf config) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("redistest: no free port: %w", err)
	}
	p := &process{binary: binary, dir: dir, port: port, tls: conf.tls}
	if conf.sentinel != "" {
		p.args = append(p.args, conf.sentinel, "--sentinel")
	}
	if conf.tls != nil {
		p.args = append(p.args, "--port", "0", "--tls-port", strconv.Itoa(port))
	} else {
		p.args = append(p.args, "--port", strconv.Itoa(port))
	}
	p.args = append(p.args,
		"--bind", "127.0.0.1", "--protected-mode", "yes", "--dir", dir, "--logfile", p.logFile(), "--daemonize", "no")
	if conf.sentinel == "" {
		p.args = append(p.args, "--save", "")
		if conf.persistent {
			p.args = append(p.args, "--appendonly", "yes", "--appendfsync", "always")
		} else {
			p.args = append(p.args, "--appendonly", "no")
		}
	}
	if conf.password != "" {
		p.args = append(p.args, "--requirepass", conf.password)
	}
	p.args = append(p.args, conf.args...)
	return p, nil
}

// Close closes the clients that came from this server, ends it and removes its folder. Calling it again does nothing.
// Tests need not call it.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	clients := s.clients
	s.mu.Unlock()
	for _, c := range clients {
		_ = c.Close() // a test may have closed it already
	}
	s.proc.kill()
	return os.RemoveAll(s.proc.dir)
}

// Addr is host:port.
func (s *Server) Addr() string { return s.proc.addr() }

// URL is the form redis.ParseURL reads.
func (s *Server) URL() string {
	scheme, user := "redis", ""
	if s.conf.tls != nil {
		scheme = "rediss"
	}
	if s.conf.password != "" {
		user = ":" + s.conf.password + "@"
	}
	return scheme + "://" + user + s.Addr()
}

// PID is the server's process id.
func (s *Server) PID() int { return s.proc.cmd.Process.Pid }

// Options are fresh options for this server, with ContextTimeoutEnabled: without it a context's deadline does not bound
// a read from the socket.
func (s *Server) Options() *redis.Options {
	o := &redis.Options{Addr: s.Addr(), Password: s.conf.password, ContextTimeoutEnabled: true}
	if s.conf.tls != nil {
		o.TLSConfig = s.conf.tls.Clone()
	}
	return o
}

// Client is a new client with a pool of its own, closed with the server.
func (s *Server) Client() *redis.Client { return s.newClient(s.Options()) }

// ClientAs is [Server.Client] for a user that [Server.AddUser] made.
func (s *Server) ClientAs(name, password string) *redis.Client {
	o := s.Options()
	o.Username, o.Password = name, password
	return s.newClient(o)
}

func (s *Server) newClient(o *redis.Options) *redis.Client {
	c := redis.NewClient(o)
	s.closeLater(c)
	return c
}

func (s *Server) closeLater(c interface{ Close() error }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, c)
}

// Do runs a command as the default user and returns its answer; a Redis error is reported, an answer of nil is nil.
func (s *Server) Do(args ...any) any {
	v, err := s.try(args...)
	if err != nil {
		s.report(fmt.Errorf("redistest: %v: %w", args, err))
	}
	return v
}

func (s *Server) try(args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if name, ok := args[0].(string); ok && s.conf.hidden[name] != "" {
		args = append([]any{s.conf.hidden[name]}, args[1:]...)
	}
	v, err := s.admin.Do(ctx, args...).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return v, err
}

// Prefix is a key prefix that no other test has.
func Prefix(tb testing.TB) string {
	tb.Helper()
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return "t-" + hex.EncodeToString(b)
}

// Stop ends the server in order. Its address stays its own for Restart.
func (s *Server) Stop() { s.proc.stop() }

// Kill ends the server without warning, frozen or not.
func (s *Server) Kill() { s.proc.kill() }

// Restart ends the server if it runs and starts it at the same address: empty, or with its data if [Persistent].
func (s *Server) Restart() {
	s.proc.stop()
	if !s.conf.persistent {
		// A replica keeps on disk what it was first given, and would come back with that.
		_ = os.Remove(filepath.Join(s.proc.dir, "dump.rdb"))
	}
	if err := s.proc.start(); err != nil {
		s.report(err)
	}
}

// Freeze stops the process where it is: the kernel goes on accepting connections and data, nothing is answered.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on; it first executes what it received meanwhile.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	if err := s.proc.signal(sig); err != nil {
		s.report(err)
	}
}
