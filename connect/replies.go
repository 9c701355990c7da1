package connect

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"
)

// go-redis allocates what a reply says of its length before anything of it has come, and panics where that is absurd:
// who answers in Redis's place, or a Redis that was taken over, could end the process with one line. So a connection is
// read through replies, which follow RESP just far enough to know lengths and nesting.
// https://redis.io/docs/latest/develop/reference/protocol-spec/

const (
	replyAtMost  = 64 << 20 // bytes that go-redis may hold for one reply; the cache's largest has 16 MiB
	nestedAtMost = 32
	elementSize  = 32 // bytes for each element of an array, set or map
)

var errReply = errors.New("connect: Redis answers with more than 64 MiB, or not in its own protocol; the " +
	"connection is closed")

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// bounded makes a dialer's connections bounded ones.
func bounded(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		b := &boundedConn{Conn: conn}
		// go-redis looks at the socket for whether the server has hung up.
		switch raw := conn.(type) {
		case syscall.Conn:
			return struct {
				*boundedConn
				syscall.Conn
			}{b, raw}, nil
		case interface{ NetConn() net.Conn }: // TLS
			return struct {
				*boundedConn
				netConner
			}{b, raw}, nil
		}
		return b, nil
	}
}

type netConner interface{ NetConn() net.Conn }

type boundedConn struct {
	net.Conn
	replies replies
}

func (c *boundedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.replies.follow(p[:n]) {
		return 0, errReply
	}
	return n, err
}

// replies is where in a stream of replies a reader is.
type replies struct {
	bad  bool
	held int    // bytes, of the reply that has begun
	body int    // bytes of a string that are still to come, its CRLF among them
	line []byte // the beginning of a line that has not ended
	open []aggregate
}

type aggregate struct {
	left      int  // elements that are still to come
	attribute bool // it comes before an element and is none (RESP3)
}

// longestNumber is enough for every length.
const longestNumber = 24

// follow reads on; false: what was read is not to be used, nor what comes after it.
func (r *replies) follow(b []byte) bool {
	for len(b) > 0 && !r.bad {
		if r.body > 0 {
			n := min(r.body, len(b))
			b = b[n:]
			if r.body -= n; r.body == 0 {
				r.ended()
			}
			continue
		}
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		r.hold(len(line))
		r.line = append(r.line, line[:min(len(line), longestNumber-len(r.line))]...)
		if b = rest; whole {
			r.begun(bytes.TrimSuffix(r.line, []byte("\r")))
			r.line = r.line[:0]
		}
	}
	return !r.bad
}

// hold counts what go-redis allocates.
func (r *replies) hold(bytes int) {
	if r.held += bytes; r.held > replyAtMost {
		r.bad = true
	}
}

// begun takes in a line: the whole of a simple value, or what says how long the rest is.
func (r *replies) begun(line []byte) {
	if len(line) == 0 {
		r.bad = true
		return
	}
	kind := line[0]
	if !bytes.ContainsRune([]byte("$=!*~>%|"), rune(kind)) {
		r.ended()
		return
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n > replyAtMost {
		r.bad = true
		return
	}
	switch kind {
	case '$', '=', '!':
		if n < 0 { // null
			r.ended()
			return
		}
		r.hold(n)
		r.body = n + len("\r\n")
		return
	case '%', '|':
		n *= 2
	}
	if n <= 0 {
		if kind != '|' {
			r.ended()
		}
		return
	}
	r.hold(n * elementSize)
	r.open = append(r.open, aggregate{n, kind == '|'})
	if len(r.open) > nestedAtMost {
		r.bad = true
	}
}

// ended takes in that a value is complete, and with it perhaps those it is in.
func (r *replies) ended() {
	for len(r.open) > 0 {
		last := &r.open[len(r.open)-1]
		if last.left--; last.left > 0 {
			return
		}
		attribute := last.attribute
		r.open = r.open[:len(r.open)-1]
		if attribute {
			return
		}
	}
	r.held = 0
}
