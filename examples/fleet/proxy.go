package main

import (
	"io"
	"net"
	"sync"
)

// proxy stands between the workers and Redis, and takes Redis away from them without stopping a server that others may
// use.
//
// While it is down it resets new connections rather than close its listener: a client that dials a closed port of the
// ephemeral range in a loop may be connected to itself, and then the port is gone.
type proxy struct {
	network, backend string
	listener         net.Listener
	serving          sync.WaitGroup

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newProxy(network, backend string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{network: network, backend: backend, listener: listener, conns: map[net.Conn]bool{}}
	p.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() { p.serve(conn) })
		}
	})
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve(client net.Conn) {
	if !p.admit(client) {
		reset(client)
		return
	}
	defer p.leave(client)
	server, err := net.Dial(p.network, p.backend)
	if err != nil {
		return
	}
	if !p.admit(server) {
		server.Close()
		return
	}
	defer p.leave(server)
	go func() {
		_, _ = io.Copy(server, client)
		server.Close() // ends the other direction
	}()
	_, _ = io.Copy(client, server)
}

func (p *proxy) admit(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *proxy) leave(conn net.Conn) {
	conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// cut takes Redis away: connections break, and new ones are refused.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for conn := range p.conns {
		reset(conn)
	}
}

// mend gives Redis back.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

func (p *proxy) close() {
	p.listener.Close()
	p.cut()
	p.serving.Wait()
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
