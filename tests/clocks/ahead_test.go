package clocks_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// slowToConnect makes the first connection take as long as one does behind a slow handshake, so that an instance that
// takes half of an answer's time for its way back believes that Redis is a second ahead.
func slowToConnect(o *redis.UniversalOptions) {
	dial := redis.NewDialer(&redis.Options{TLSConfig: o.TLSConfig, DialTimeout: 10 * time.Second})
	var first sync.Once
	o.Dialer = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		conn, err = dial(ctx, network, address)
		first.Do(func() { time.Sleep(2 * time.Second) })
		return conn, err
	}
	o.DialTimeout = 10 * time.Second
}

// An instance whose first answer of Redis was long on its way does not date what it asks for after a removal that comes
// later: what was removed would go on serving.
func TestSlowFirstAnswerDatesNothingAhead(t *testing.T) {
	ctx := context.Background()
	for name, gateAlone := range map[string]bool{"with the accessor": false, "by the gate alone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			elsewhere := w.Instance()
			slow := w.InstanceOn(w.Client(slowToConnect), w.Sealer(w.Keys), harness.Options(w.Prefix))
			app := slow.App()
			if gateAlone {
				app = slow.GateApp()
			}
			slow.SignIn(app, u) // the first that it asks Redis
			token := func(scope string) string {
				return harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{scope}))
			}
			before := token(harness.GraphScope)
			harness.Succeeds(t, elsewhere.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, harness.GraphScope))
			harness.Eventually(t, "the end of what was forgotten", func() bool {
				if gateAlone {
					app = slow.GateApp() // another has what it was given in MSAL's memory
				}
				return token(harness.GraphScope) != before
			})
		})
	}
}
