package apiclient_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/msal-redis/msal-redis-go/apiclient"
)

// What net/http repeats by itself, because the server has not begun, it repeats for a client of this package too: a
// stream that is refused, one that a server which shuts down will not serve, a pooled connection that the server has
// closed.
func TestNetHTTPRepeatsByItself(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name string
		// transport is to a new server that has the fault at the first request (which is counted) and echoes the body of the
		// next.
		transport func(t *testing.T) (*http.Transport, *atomic.Int64)
	}{
		{"REFUSED_STREAM", func(t *testing.T) (*http.Transport, *atomic.Int64) {
			return http2Server(t, func(f *http2.Framer, stream uint32) error {
				return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			})
		}},
		{"graceful GOAWAY", func(t *testing.T) (*http.Transport, *atomic.Int64) {
			return http2Server(t, func(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) })
		}},
		{"a pooled connection that is closed", closedConnection},
	} {
		for _, body := range []struct {
			name, method string
			again        bool // it can be had again
		}{
			{"POST", http.MethodPost, true},
			{"PATCH", http.MethodPatch, true},
			{"PUT", http.MethodPut, true},
			{"POST of a stream", http.MethodPost, false},
		} {
			for _, by := range []string{"net/http", "apiclient"} {
				t.Run(fault.name+"/"+body.name+"/"+by, func(t *testing.T) {
					t.Parallel()
					base, sent := fault.transport(t)
					client := &http.Client{Transport: base}
					if by == "apiclient" {
						var err error
						if client, err = apiclient.New(resource, &credential{},
							&apiclient.Options{Transport: base, MaxRetries: -1}); err != nil {
							t.Fatal(err)
						}
					}
					var payload io.Reader = bytes.NewReader([]byte("payload"))
					if !body.again {
						payload = io.MultiReader(payload)
					}
					req, err := http.NewRequestWithContext(t.Context(), body.method, resource, payload)
					if err != nil {
						t.Fatal(err)
					}
					resp, err := client.Do(req)
					if !body.again {
						if err == nil {
							resp.Body.Close()
							t.Error("no error, though there was nothing to repeat it with")
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					if got, err := io.ReadAll(resp.Body); string(got) != "payload" || err != nil {
						t.Errorf("the server was sent %q (%v), want the payload", got, err)
					}
					if n := sent.Load(); n != 2 {
						t.Errorf("%d requests, want one that the server did not serve, and one", n)
					}
				})
			}
		}
	}
}

// http2Server is a server that does wrong to its first stream, and echoes the others.
func http2Server(t *testing.T, wrong func(f *http2.Framer, stream uint32) error) (*http.Transport, *atomic.Int64) {
	t.Helper()
	certified := httptest.NewTLSServer(nil) // for its certificate
	certified.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0",
		&tls.Config{Certificates: certified.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var streams atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				echo(c, func(f *http2.Framer, stream uint32) (bool, error) {
					if streams.Add(1) > 1 {
						return false, nil
					}
					return true, wrong(f, stream)
				})
			}()
		}
	}()
	base := certified.Client().Transport.(*http.Transport).Clone()
	base.ForceAttemptHTTP2 = true
	base.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
	t.Cleanup(base.CloseIdleConnections)
	return base, &streams
}

// echo serves an HTTP/2 connection until it ends. begin is told of each stream, and says whether it is dealt with.
func echo(c net.Conn, begin func(*http2.Framer, uint32) (bool, error)) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	if f.WriteSettings() != nil {
		return
	}
	bodies := map[uint32][]byte{}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				err = f.WritePing(true, frame.Data)
			}
		case *http2.HeadersFrame:
			var done bool
			if done, err = begin(f, frame.StreamID); !done {
				bodies[frame.StreamID] = []byte{}
			}
		case *http2.DataFrame:
			if body, ok := bodies[frame.StreamID]; ok {
				bodies[frame.StreamID] = append(body, frame.Data()...)
				if frame.StreamEnded() {
					err = answer(f, frame.StreamID, bodies[frame.StreamID])
				}
			}
		}
		if err != nil {
			return
		}
	}
}

func answer(f *http2.Framer, stream uint32, body []byte) error {
	var headers bytes.Buffer
	e := hpack.NewEncoder(&headers)
	_ = e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = e.WriteField(hpack.HeaderField{Name: "content-length", Value: fmt.Sprint(len(body))})
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headers.Bytes(),
		EndHeaders: true}); err != nil {
		return err
	}
	return f.WriteData(stream, true, body)
}

// closedConnection is a server whose first connection has served a request, is back in the pool, and is closed since,
// which the client notices when it writes.
func closedConnection(t *testing.T) (*http.Transport, *atomic.Int64) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	t.Cleanup(server.Close)
	base := server.Client().Transport.(*http.Transport)
	base.ForceAttemptHTTP2 = false
	var writes atomic.Int64
	var closed atomic.Pointer[closing]
	base.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		if err != nil {
			return nil, err
		}
		writes.Add(1)
		wrapped := &closing{Conn: c}
		closed.CompareAndSwap(nil, wrapped)
		return wrapped, nil
	}
	resp, err := (&http.Client{Transport: base}).Post(resource, "text/plain", strings.NewReader("the first"))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	closed.Load().reset.Store(true)
	return base, &writes
}

// closing is a connection that the server resets.
type closing struct {
	net.Conn
	reset atomic.Bool
}

func (c *closing) Write(b []byte) (int, error) {
	if c.reset.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(b)
}
