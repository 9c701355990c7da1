package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// answering is a Redis that introduces itself and answers the first command with what says gives, over and over if
// forever.
func answering(tb testing.TB, forever bool, says func() []byte) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan struct{})
	tb.Cleanup(func() {
		l.Close()
		<-served
	})
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buffer)
				if err != nil {
					break
				}
				command := strings.ToLower(string(buffer[:n]))
				if strings.Contains(command, "hello") || strings.Contains(command, "maint_notifications") {
					for range strings.Count(command, "*") { // pipelined
						_, _ = conn.Write([]byte("-ERR unknown command\r\n"))
					}
					continue
				}
				for _, err = conn.Write(says()); forever && err == nil; {
					_, err = conn.Write(says())
				}
				break
			}
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// What no Redis says, or only one that was taken over, is an error, at once and without the memory that it speaks of.
func TestRepliesAreBounded(t *testing.T) {
	for name, test := range map[string]struct {
		first, then string // then: for ever
	}{
		"a string of 500 MB":                 {first: "$536870912\r\n"},
		"a string longer than numbers":       {first: "$9223372036854775807\r\n"},
		"a length that is none":              {first: "$1e9\r\n"},
		"an array of a billion":              {first: "*1000000000\r\n"},
		"an array longer than memory":        {first: "*9223372036854775807\r\n"},
		"a map of a billion":                 {first: "%1000000000\r\n"},
		"arrays in arrays":                   {then: strings.Repeat("*1\r\n", 1<<14)},
		"attributes before attributes":       {then: strings.Repeat("|1\r\n", 1<<14)},
		"large arrays in large arrays":       {then: strings.Repeat("*100000\r\n", 1<<10)},
		"a line without an end":              {first: "+", then: strings.Repeat("x", 1<<16)},
		"an array that is sent, of millions": {first: "*67108864\r\n", then: strings.Repeat(":1\r\n", 1<<14)},
		"strings, many and large": {first: "*100000\r\n",
			then: "$1000000\r\n" + strings.Repeat("x", 1000000) + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			first := []byte(test.first)
			rdb, err := Open("redis://"+answering(t, test.then != "", func() []byte {
				defer func() { first = []byte(test.then) }()
				return first
			})+"?max_retries=-1&read_timeout=1m", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer rdb.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it is over long before, or it hangs
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = rdb.Do(ctx, "GET", "x").Result()
			runtime.ReadMemStats(&after)
			if !errors.Is(err, errReply) {
				t.Errorf("%v", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 6*replyAtMost {
				t.Errorf("it took %d MiB", took>>20)
			}
		})
	}
}

// What Redis does say passes, whole, byte by byte, and however it nests, and is counted per reply.
func TestRepliesPass(t *testing.T) {
	large := "$" + fmt.Sprint(40<<20) + "\r\n" + strings.Repeat("x", 40<<20) + "\r\n"
	stream := "+OK\r\n-ERR no\r\n:1\r\n$-1\r\n$0\r\n\r\n$5\r\na\r\nb\n\r\n*-1\r\n*0\r\n*2\r\n*1\r\n:1\r\n$1\r\nx\r\n" +
		"_\r\n#t\r\n,1.5\r\n(123456789012345678901234567890123\r\n" +
		"=5\r\ntxt:x\r\n!3\r\nERR\r\n%1\r\n+a\r\n*1\r\n:1\r\n~1\r\n+a\r\n>2\r\n+message\r\n+x\r\n" +
		"|1\r\n+ttl\r\n:1\r\n*1\r\n|1\r\n+a\r\n+b\r\n:2\r\n|0\r\n:3\r\n"
	for name, chunk := range map[string]int{"whole": 1 << 30, "byte by byte": 1, "in parts": 7} {
		var r replies
		for b := []byte(stream); len(b) > 0; b = b[min(chunk, len(b)):] {
			if !r.follow(b[:min(chunk, len(b))]) {
				t.Fatalf("%s: not accepted, with %q to come", name, b)
			}
		}
		if len(r.open) != 0 || r.held != 0 || r.body != 0 {
			t.Errorf("%s: not at the end of a reply: %+v", name, r)
		}
		for range 3 {
			if !r.follow([]byte(large)) {
				t.Errorf("%s: three replies count as one", name)
			}
		}
	}
}

// FuzzReplies: whatever comes, it does not matter in which parts, and go-redis gets an answer or an error from what
// passes.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{"*2\r\n$1\r\nx\r\n*1\r\n:1\r\n", "|1\r\n+a\r\n+b\r\n*0\r\n", "%1\r\n*1\r\n:1\r\n+b\r\n",
		"$-1\r\n*-1\r\n", "*1\r\n$3\r\nab", "=3\r\nabc\r\n", "(1\r\n", "$?\r\n", "*-2\r\n", "$-7\r\n"} {
		f.Add([]byte(s), byte(3))
	}
	var says []byte
	rdb := redis.NewClient(&redis.Options{
		MaxRetries: -1, DisableIdentity: true, PoolSize: 2, DialerRetries: 1,
		Dialer: bounded(func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				buffer := make([]byte, 4<<10)
				for {
					n, err := theirs.Read(buffer)
					if err != nil {
						return
					}
					command := strings.ToLower(string(buffer[:n]))
					if !strings.Contains(command, "hello") && !strings.Contains(command, "maint_notifications") {
						_, _ = io.Copy(theirs, bytes.NewReader(says))
						return
					}
					for range strings.Count(command, "*") {
						_, _ = theirs.Write([]byte("-ERR unknown command\r\n"))
					}
				}
			}()
			return ours, nil
		}),
	})
	f.Cleanup(func() { rdb.Close() })
	f.Fuzz(func(t *testing.T, stream []byte, chunk byte) {
		var whole, parts replies
		accepted := whole.follow(stream)
		for b := stream; len(b) > 0; {
			n := min(1+int(chunk), len(b))
			parts.follow(b[:n])
			b = b[n:]
		}
		if accepted == parts.bad || accepted && (whole.body != parts.body || whole.held != parts.held ||
			len(whole.open) != len(parts.open)) {
			t.Fatalf("whole: %+v, in parts: %+v", whole, parts)
		}
		says = stream
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := rdb.Do(ctx, "GET", "x").Err(); ctx.Err() != nil {
			t.Fatalf("it hangs: %v", err)
		}
	})
}
