package msalredis_test

import (
	"os"
	"testing"
	"time"
)

// One client serves hundreds of users on one processor that the garbage collector wants too, with a short OpTimeout: a goroutine
// waits long for its turn, which is neither Redis being away nor a token that is gone.
func TestManyUsersOnAProcessorUnderPressure(t *testing.T) {
	const users, goroutines, calls = 600, 32, 25
	w := newWorld(t)
	w.fill(t, clientID, "login.microsoftonline.com", users)
	cfg := workerConfig{
		Redis: w.redis.address, Prefix: w.prefix, Keys: w.keys, Entra: w.entra.Host(), CA: string(w.entra.CAPEM()),
		OpTimeout: 250 * time.Millisecond, Pressed: 1,
	}
	p := startProcess(t, os.Args[0], cfg, "GOMAXPROCS=1")
	p.hello()
	o := p.do(order{Op: "silent", Scopes: []string{"s"}, Accounts: users, N: goroutines, Calls: calls})
	if len(o.Errors) > 0 {
		t.Errorf("%d of %d silent calls failed: %s", len(o.Errors), len(o.Errors)+len(o.Tokens), o.Errors[0])
	}
	w.count(t, 0, "token requests")
}
