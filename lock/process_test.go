package lock

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// holderEnv makes the test binary a process that takes a lease and holds it until it is killed, or its parent has ended.
const holderEnv = "MSALREDIS_LOCK_HOLDER"

// holderMain prints the fence of the lease when it has it. Its argument is the URL of Redis, the key, and the life of the lease.
func holderMain(arg string) int {
	fields := strings.Fields(arg)
	ttl, err := time.ParseDuration(fields[2])
	if err != nil {
		panic(err)
	}
	opts, err := redis.ParseURL(fields[0])
	if err != nil {
		panic(err)
	}
	l := New(redis.NewClient(opts), &Options{TTL: ttl})
	s, err := l.TryAcquire(context.Background(), fields[1])
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("fence", s.Fence())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// TestAKilledHolderCostsTheOthersTTL: a process holds the lease, renews it for longer than it lives, and is killed, so that nothing of it
// can clean up.
func TestAKilledHolderCostsTheOthersTTL(t *testing.T) {
	const ttl = time.Second
	s := redistest.Start(t)
	key := lockKey(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(exe)
	holder.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %v", holderEnv, s.URL(), key, ttl))
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the holder's first line: %v", err)
	}
	fence, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(line, "fence ")), 10, 64)
	if err != nil {
		t.Fatalf("the holder says %q", line)
	}

	l := open(t, s.Client(), &Options{TTL: ttl, PollInterval: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 2*ttl+2*bound)
	defer cancel()
	waiter := goAcquire(ctx, l, key)
	select {
	case a := <-waiter:
		t.Fatalf("Acquire returned (%v) while another process held the lease", a.err)
	case <-time.After(2 * ttl):
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	left := time.Duration(s.Do("PTTL", key).(int64)) * time.Millisecond
	if left > ttl || left <= 0 {
		t.Errorf("the lease has %v to live", left)
	}
	next := (<-waiter).must(t)
	// Redis says when it has run out; the rest is the machine's.
	if d := time.Since(killed); d > ttl+bound/4 {
		t.Errorf("the next holder came %v after the end of the last", d)
	}
	if next.Fence() <= fence {
		t.Errorf("fence %d after %d", next.Fence(), fence)
	}
	mustRelease(t, next)
}
