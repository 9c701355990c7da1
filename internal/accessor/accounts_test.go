package accessor

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/stage"
)

// Whatever a Redis answers to the question for the list of accounts, it is an error or a list.
func TestListOfAccountsThatIsNone(t *testing.T) {
	for _, reply := range []string{
		"*-1\r\n", "$-1\r\n", ":1\r\n", "%1\r\n+a\r\n+b\r\n", "*1\r\n*1\r\n*1\r\n*0\r\n", "-LOADING x\r\n", "_\r\n", "#t\r\n",
		",1.5\r\n", "(1\r\n", "=5\r\ntxt:x\r\n", ">2\r\n+message\r\n+x\r\n", "|1\r\n+a\r\n+b\r\n*0\r\n", "", "*2\r\n:1\r\n",
		"*2\r\n$1\r\nx\r\n$24\r\n}aaaaaaaaaaaaaaaaaaaaaaa\r\n", "-MOVED 1 127.0.0.1:1\r\n",
	} {
		s := stage.New(t, stage.Answering(t, func(string) []byte { return []byte(reply) }), stage.Options{NoBreaker: true})
		m := newManager()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := onStage(s).loadAccounts(ctx, m); errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			t.Errorf("%q: it hangs", reply)
		}
		cancel()
		if len(m.inUse) > 0 {
			t.Errorf("%q: accounts that nobody stored", reply)
		}
	}
}
