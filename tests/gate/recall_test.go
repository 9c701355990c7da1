package gate_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A token that a challenge has replaced is given to nobody in this process any more, though Redis had confirmed it for
// long; another process gives it for LocalTTL at most.
func TestTokenReplacedByAChallengeIsNotGivenFromMemory(t *testing.T) {
	t.Parallel()
	const more = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	for name, claims := range map[string]string{"a newer token": challenge, "another token": more} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			ctx := context.Background()
			here := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Hour })
			there := w.Instance(func(o *msalredis.Options) { o.LocalTTL = time.Second })
			get := func(i *harness.Instance, o ...confidential.AcquireByCredentialOption) string {
				t.Helper()
				return harness.Must(t)(i.GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope}, o...))
			}
			old := get(here)
			w.Settled()
			for n := range 3 {
				if get(here) != old || get(there) != old {
					t.Fatalf("call %d: the token is not shared", n)
				}
			}
			if get(here, confidential.WithClaims(claims)) == old {
				t.Fatal("the challenge is answered by what it refuses")
			}
			if get(here) == old {
				t.Error("this process still gives the token that was refused")
			}
			harness.Eventually(t, "the other process gives another token", func() bool { return get(there) != old })
		})
	}
}

// What a process has confirmed within LocalTTL it gives without Redis, also where Redis's errors are to be returned: no
// error is met. After that it is not relied on.
func TestConfirmedAnswerServesWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	for _, lasting := range []time.Duration{time.Second, time.Hour} {
		t.Run(fmt.Sprint(lasting), func(t *testing.T) {
			t.Parallel()
			w := harness.Breakable(t)
			ctx := context.Background()
			here := w.Instance(func(o *msalredis.Options) { o.FailClosed, o.LocalTTL = true, lasting })
			get := func() (confidential.AuthResult, error) {
				return here.GateApp().AcquireTokenByCredential(ctx, []string{harness.GraphScope})
			}
			old := harness.Must(t)(get())
			w.Settled()
			harness.Must(t)(get())
			w.Redis.Kill()
			if lasting == time.Hour {
				for range 3 {
					if harness.Must(t)(get()) != old {
						t.Error("another token is given")
					}
				}
			} else {
				harness.Eventually(t, "an error of Redis", func() bool { _, err := get(); return err != nil })
			}
			w.Count(t, 1, "while Redis is away")
		})
	}
}
