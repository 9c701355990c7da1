package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// hostile moves a cursor, colours, sets a title, turns text round, ends lines, in 7 bits, in 8, and not in UTF-8.
const hostile = "\x1b[31m\x1b]0;x\x07\b\t\r\n\v\f\x7f\u0085\u009b31m\u009d\u061c\u200b\u200e\u202e" +
	"\u2066\u2028\u2029\ufeff\U000e0041\x9b\xff"

// clean tells what of a text would not be seen.
func clean(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s prints what is not UTF-8: %q", what, text)
	}
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%s prints %q in %q", what, r, text)
			return
		}
	}
}

// Whatever stands in Redis, nothing of it reaches the terminal that is not seen.
func TestNothingInRedisMovesTheCursor(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	names := layout.Names{Prefix: f.prefix}
	parsed, err := serializer.ParseKeys(f.keys)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(parsed...)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMicro()
	plant := func(key, field string, content []byte) {
		value, err := layout.Seal(sealer, key, field, now, now/1e6+3600, content)
		if err != nil {
			t.Fatal(err)
		}
		if field == "" {
			f.redis.Do("SET", key, value, "PX", "600000")
		} else {
			f.redis.Do("HSET", key, field, value)
		}
	}
	good := layout.PartitionID("good")
	head := layout.AnswerHead{Status: 200, Header: map[string]string{}, Started: now, Received: now,
		Of: "client_credentials", Grant: hostile, Client: "c" + hostile, Tenant: "t" + hostile, Scopes: "s" + hostile}
	plant(names.Response(good), "", layout.EncodeAnswer(head, []byte("{}")))
	head.Status, head.Until = 400, now+600e6
	plant(names.Pause(good), "", layout.EncodeAnswer(head, []byte(`{"error":"`+hostile+`"}`)))
	plant(names.Tokens(good), hostile, []byte(hostile))
	f.redis.Do("HSET", names.Tokens(good), "x"+hostile, hostile)
	f.redis.Do("SET", names.Tokens(layout.PartitionID("string")), hostile)
	f.redis.Do("HSET", names.Response(layout.PartitionID("hash")), hostile, hostile)
	for _, id := range []string{hostile, "A" + hostile, "AAAAAAAAAAAAAAAAAAAAAAA\x1b", "AAAAAAAAAAAAAAAAAAAAAA\u009b",
		"AAAA", "}AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAA\nAAAAAAAAAAAA"} {
		for _, what := range []string{"tokens", "response", "pause"} {
			f.redis.Do("SET", f.prefix+":v1:{"+id+"}:"+what, hostile)
		}
	}
	items := f.listed()
	if got := kinds(items); got != "answer partition partition pause user-answer" {
		t.Errorf("listed %q", got)
	}
	for _, it := range items {
		if !it.ID.Usable() {
			t.Errorf("an id that is none: %q", it.ID)
		}
		if it.Kind == kindUserAnswer && !strings.HasPrefix(it.Clients[0], "c\x1b[31m") {
			// JSON loses nothing but what is no text
			t.Errorf("%+v", it)
		}
	}
	for _, args := range []string{"list", "list --json", "show " + string(good), "show --json " + string(good), "show A",
		"show --json A", "doctor", "doctor --json", "purge --tenant x --yes", "purge --client c --dry-run", "reseal",
		"reseal --json", "show " + hostile, "purge --account " + hostile, "purge --tenant " + hostile,
		"list --scope " + hostile, hostile, "list --" + hostile, "keygen " + hostile} {
		r := f.run(strings.SplitN(args, " ", 2)...)
		if parts := strings.Fields(args); !strings.Contains(args, hostile) {
			r = f.run(parts...)
		}
		clean(t, args, r.out+r.report)
	}
	w := f.watch(nil)
	plain := f.watchText()
	for _, id := range []string{hostile, "AAAA", string(good)} {
		f.redis.Client().Publish(t.Context(), f.prefix+":v1:{"+id+"}:wake", hostile)
		f.redis.Client().Publish(t.Context(), names.Changes(), "f "+id+" 1")
	}
	for seen := map[string]bool{}; !seen[eventRefreshed] || !seen[eventRefused] || !seen[eventRemoved]; {
		select {
		case e := <-w.events:
			if seen[e.Event] = true; e.ID != good {
				t.Errorf("%+v", e)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("seen: %v", seen)
		}
	}
	f.eventually("watch to print", func() bool {
		return strings.Contains(plain.text(), eventRemoved) && strings.Contains(plain.text(), eventRefused)
	})
	r := w.end()
	clean(t, "watch --json", r.out+r.report)
	clean(t, "watch", plain.end())
	if strings.Contains(r.out, "AAAA") {
		t.Errorf("watch shows what is no id:\n%s", r.out)
	}
	for _, it := range items {
		if it.Kind == kindUserAnswer {
			clean(t, "purge", f.run("purge", "--tenant", it.Tenants[0], "--dry-run").out)
		}
	}
}

// printed is what a watch for people prints.
type printed struct {
	mu     sync.Mutex
	all    strings.Builder
	cancel context.CancelFunc
	done   chan struct{}
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.Write(b)
}

func (p *printed) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.String()
}

func (p *printed) end() string {
	p.cancel()
	<-p.done
	return p.text()
}

func (f *fleet) watchText() *printed {
	ctx, cancel := context.WithCancel(context.Background())
	p := &printed{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		run(ctx, world{[]string{"watch", "--prefix", f.prefix}, f.env, nil, p, p, time.Now})
	}()
	f.eventually("watch to listen", func() bool { return strings.Contains(p.text(), "watching") })
	return p
}

// A server that answers in Redis's place may say anything.
func TestNoServerMovesTheCursor(t *testing.T) {
	t.Parallel()
	bad := "ERR " + strings.NewReplacer("\r", "", "\n", "").Replace(hostile)
	for name, known := range map[string]map[string]string{
		"refuses all": {},
		"greets":      {"PING": "+PONG\r\n"},
		"greets, no rights": {"PING": "+PONG\r\n", "SCAN": "-NOPERM " + bad + "\r\n",
			"PSUBSCRIBE": "-NOPERM " + bad + "\r\n"},
		"tells the time": {"PING": "+PONG\r\n", "TIME": "*2\r\n$10\r\n1800000000\r\n$1\r\n0\r\n"},
		"finds keys": {"PING": "+PONG\r\n", "TIME": "*2\r\n$10\r\n1800000000\r\n$1\r\n0\r\n",
			"SCAN": "*2\r\n$1\r\n0\r\n*2\r\n$41\r\nmsal:v1:{AAAAAAAAAAAAAAAAAAAAAAAA}:response\r\n" +
				"$17\r\nmsal:v1:{\x1b}:pause\r\n"},
		"listens": {"PING": "+PONG\r\n", "PSUBSCRIBE": "*3\r\n$10\r\npsubscribe\r\n$6\r\nmsal:*\r\n:1\r\n"},
		"is odd": {"PING": "+PONG\r\n", "INFO": "$" + strconv.Itoa(
			len("redis_mode:"+hostile+"\r\nmaxmemory_policy:"+hostile)) + "\r\nredis_mode:" + hostile + "\r\nmaxmemory_policy:" +
			hostile + "\r\n", "HELLO": "*4\r\n$6\r\nserver\r\n$" + strconv.Itoa(len(hostile)) + "\r\n" + hostile +
			"\r\n$7\r\nversion\r\n$" + strconv.Itoa(len(hostile)) + "\r\n" + hostile + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := answering(t, func(command string) string {
				if reply, ok := known[command]; ok {
					return reply
				}
				return "-" + bad + "\r\n"
			})
			env := func(name string) string {
				return map[string]string{"REDIS_URL": "redis://" + addr + "?max_retries=-1&protocol=2",
					"TOKEN_CACHE_KEYS": newKey(t, "2026a")}[name]
			}
			for _, args := range []string{"list", "list --json", "show AAAA", "show AAAAAAAAAAAAAAAAAAAAAAAA",
				"show --json AAAAAAAAAAAAAAAAAAAAAAAA", "doctor", "doctor --json", "purge --tenant x --yes",
				"purge --client c --tenant t --yes", "purge --account " + user.HomeAccountID() + " --yes", "reseal",
				"watch", "watch --json"} {
				ctx, cancel := context.WithCancel(t.Context())
				p := &printed{}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					run(ctx, world{strings.Fields(args), env, strings.NewReader(""), p, p, time.Now})
				}()
				if strings.HasPrefix(args, "watch") && known["PSUBSCRIBE"] == "" || !strings.HasPrefix(args, "watch") {
					<-ended
				} else {
					for deadline := time.Now().Add(20 * time.Second); ; {
						if text := p.text(); strings.Contains(text, "who waits") || strings.Contains(text, "listening") {
							break
						}
						if time.Now().After(deadline) {
							t.Fatalf("watch says nothing: %s", p.text())
						}
						time.Sleep(5 * time.Millisecond)
					}
				}
				cancel()
				<-ended
				if p.text() == "" {
					t.Errorf("%s prints nothing", args)
				}
				clean(t, args, p.text())
			}
		})
	}
}

// answering is a server that answers each command by its name.
func answering(t *testing.T, reply func(string) string) string {
	t.Helper()
	return answeringAll(t, func(words []string) string { return reply(strings.ToUpper(words[0])) })
}

// answeringAll is one that answers each command.
func answeringAll(t *testing.T, reply func([]string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					words, err := readCommand(r)
					if err != nil {
						return
					}
					if _, err := io.WriteString(c, reply(words)); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// readCommand reads one command.
func readCommand(r *bufio.Reader) ([]string, error) {
	number := func(kind byte) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line[0] != kind {
			return 0, errors.New("no command")
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number('*')
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		size, err := number('$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		words[i] = string(b[:size])
	}
	return words, nil
}

// FuzzPlain: what is printed can be seen, and JSON stays the JSON that it was.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", hostile, "ada@contoso.com", "ü\u0301 日本", "\U0010ffff\U000e0001", "\xed\xa0\x80",
		`\u001b`, "A" + strings.Repeat("\u009b", 9)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var line, table, doc strings.Builder
		if err := say(&line, "%s", text); err != nil {
			t.Fatal(err)
		}
		clean(t, "say", line.String())
		if strings.Count(line.String(), "\n") != 1 {
			t.Errorf("more than a line: %q", line.String())
		}
		if err := (&command{world: world{out: &table}}).table([]string{"A", "B"}, [][]string{{text, "x"}}); err != nil {
			t.Fatal(err)
		}
		clean(t, "table", table.String())
		if strings.Count(table.String(), "\n") != 2 {
			t.Errorf("more than two lines: %q", table.String())
		}
		if err := (&command{world: world{out: &doc}}).document(map[string]string{text: text}); err != nil {
			t.Fatal(err)
		}
		clean(t, "document", doc.String())
		var back map[string]string
		if err := json.Unmarshal([]byte(doc.String()), &back); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(text, "\ufffd"); utf8.ValidString(text) && back[want] != want {
			t.Errorf("%q is read back as %q", text, back)
		}
	})
}
