package entralogin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9/auth"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/entralogin"
)

func TestMain(m *testing.M) {
	logging.Disable()
	goleak.VerifyTestMain(m)
}

const principal = "7a1c0b2e-0000-4000-8000-00000000feed"

// token is one of a principal's, told apart by its number.
func token(t *testing.T, oid string, n int) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"oid": oid, "n": n}).SignedString(
		[]byte("not Entra ID's key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// credential answers its nth request, from 1, with what answer says, and keeps when it was asked.
type credential struct {
	answer func(ctx context.Context, n int) (azcore.AccessToken, error)

	mu    sync.Mutex
	asked []time.Time
}

func (c *credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != entralogin.Scope {
		return azcore.AccessToken{}, fmt.Errorf("scopes %v", o.Scopes)
	}
	c.mu.Lock()
	c.asked = append(c.asked, time.Now())
	n := len(c.asked)
	c.mu.Unlock()
	return c.answer(ctx, n)
}

func (c *credential) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asked)
}

// lasting answers each request with a new token of this life.
func lasting(t *testing.T, life time.Duration) *credential {
	return &credential{answer: func(_ context.Context, n int) (azcore.AccessToken, error) {
		return azcore.AccessToken{Token: token(t, principal, n), ExpiresOn: time.Now().Add(life)}, nil
	}}
}

// listener is a connection.
type listener struct {
	mu     sync.Mutex
	heard  []string
	errors int
	hook   func()
}

func (l *listener) OnNext(c auth.Credentials) {
	if l.hook != nil {
		l.hook()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, password := c.BasicAuth()
	l.heard = append(l.heard, password)
}

func (l *listener) OnError(error) { l.mu.Lock(); l.errors++; l.mu.Unlock() }

func (l *listener) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heard) == 0 {
		return ""
	}
	return l.heard[len(l.heard)-1]
}

func login(t *testing.T, c azcore.TokenCredential) *entralogin.Login {
	t.Helper()
	l, err := entralogin.New(c, &entralogin.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// subscribe is what go-redis does for a new connection.
func subscribe(t *testing.T, l *entralogin.Login, who auth.CredentialsListener) (user, password string, leave func()) {
	t.Helper()
	c, unsubscribe, err := l.Subscribe(who)
	if err != nil {
		t.Fatal(err)
	}
	user, password = c.BasicAuth()
	return user, password, func() {
		for range 2 { // go-redis may call it again
			if err := unsubscribe(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A token is renewed in the half minute after the moment at which MSAL would give a new one, every connection hears of
// it, and a hundred connections make one request.
func TestRenewedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cred := lasting(t, time.Hour)
		l := login(t, cred)
		if cred.requests() != 0 {
			t.Error("New asked")
		}
		connections := make([]*listener, 100)
		var wg sync.WaitGroup
		for i := range connections {
			connections[i] = &listener{}
			wg.Go(func() {
				user, password, leave := subscribe(t, l, connections[i])
				if user != principal || password != token(t, principal, 1) {
					t.Errorf("logs in as %s", user)
				}
				t.Cleanup(leave)
			})
		}
		wg.Wait()
		for n := 2; n < 10; n++ {
			began := cred.asked[n-2]
			time.Sleep(time.Until(began.Add(55*time.Minute - time.Nanosecond)))
			synctest.Wait()
			if got := cred.requests(); got != n-1 {
				t.Fatalf("%d requests before the token was due, want %d", got, n-1)
			}
			time.Sleep(31 * time.Second)
			synctest.Wait()
			if got := cred.requests(); got != n {
				t.Fatalf("%d requests when the token was due, want %d", got, n)
			}
			for _, c := range connections {
				if c.last() != token(t, principal, n) {
					t.Fatal("a connection did not hear of the new token")
				}
			}
		}
	})
}

// The credential knows better when: managed identity tokens of 24 hours are renewed half-way.
func TestRenewedWhenTheCredentialSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cred := &credential{answer: func(_ context.Context, n int) (azcore.AccessToken, error) {
			now := time.Now()
			return azcore.AccessToken{Token: token(t, principal, n), ExpiresOn: now.Add(24 * time.Hour),
				RefreshOn: now.Add(12 * time.Hour)}, nil
		}}
		_, _, leave := subscribe(t, login(t, cred), &listener{})
		defer leave()
		time.Sleep(12*time.Hour + 31*time.Second)
		synctest.Wait()
		if d := cred.asked[len(cred.asked)-1].Sub(cred.asked[0]); cred.requests() != 2 || d < 12*time.Hour {
			t.Errorf("%d requests, the last after %v", cred.requests(), d)
		}
	})
}

// Tokens that are short from the start, or whose RefreshOn has passed, do not make a request a moment.
func TestShortTokensDoNotHammer(t *testing.T) {
	for _, life := range []time.Duration{2 * time.Second, 2 * time.Minute, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			cred := lasting(t, life)
			l := login(t, cred)
			c := &listener{}
			_, _, leave := subscribe(t, l, c)
			defer leave()
			time.Sleep(20 * life)
			synctest.Wait()
			if n := cred.requests(); n < 20 || n > 80 {
				t.Errorf("%v: %d requests in 20 lives", life, n)
			}
			for i, at := range cred.asked[1:] {
				if gap := at.Sub(cred.asked[i]); gap >= life {
					t.Errorf("%v: %v without a live token", life, gap-life)
				}
			}
		})
	}
}

// A token that works is kept to its end, however often its renewal fails; the tries never end, grow no denser than one
// a second, and the first that succeeds reaches every connection. Connections are not told of failures: go-redis would
// close them.
func TestFailuresKeepTheTokenToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outage = 10 * time.Hour
		secret := errors.New("AADSTS7000222: expired")
		var cred *credential
		cred = &credential{answer: func(_ context.Context, n int) (azcore.AccessToken, error) {
			if n > 1 && time.Since(cred.asked[0]) < outage {
				return azcore.AccessToken{}, secret
			}
			return azcore.AccessToken{Token: token(t, principal, n), ExpiresOn: time.Now().Add(time.Hour)}, nil
		}}
		l := login(t, cred)
		c := &listener{}
		_, first, leave := subscribe(t, l, c)
		defer leave()
		time.Sleep(time.Hour - time.Millisecond)
		_, kept, leaveToo := subscribe(t, l, &listener{})
		leaveToo()
		if kept != first {
			t.Error("a new connection did not get the token that still works")
		}
		time.Sleep(5 * time.Minute)
		tries := cred.requests()
		for range 1000 { // an application that goes on
			if _, _, err := l.Subscribe(&listener{}); !errors.Is(err, entralogin.ErrNoToken) || !errors.Is(err, secret) {
				t.Fatalf("without a token: %v", err)
			}
		}
		if got := cred.requests(); got > tries+1 {
			t.Errorf("1,000 connections without a token made %d requests", got-tries)
		}
		time.Sleep(outage)
		synctest.Wait()
		for i, at := range cred.asked[1:] {
			if gap := at.Sub(cred.asked[i]); gap < 900*time.Millisecond ||
				i > 0 && at.Sub(cred.asked[0]) < outage && gap > 34*time.Second {
				t.Fatalf("try %d came %v after the one before", i+2, gap)
			}
		}
		if last := c.last(); last == "" || last == first {
			t.Error("the token after the outage did not reach the connection")
		}
		if c.errors != 0 {
			t.Errorf("the connection was told of %d failures", c.errors)
		}
	})
}

// Some credentials answer from their memory at first. That is no news, and they are asked again soon.
func TestTheSameTokenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		cred := &credential{answer: func(context.Context, int) (azcore.AccessToken, error) {
			n := 1
			if time.Since(begun) > 58*time.Minute {
				n = 2
			}
			return azcore.AccessToken{Token: token(t, principal, n), ExpiresOn: begun.Add(time.Duration(n) * time.Hour)}, nil
		}}
		c := &listener{}
		_, _, leave := subscribe(t, login(t, cred), c)
		defer leave()
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if len(c.heard) != 1 || c.last() != token(t, principal, 2) {
			t.Errorf("heard %d times", len(c.heard))
		}
	})
}

// Without connections nothing runs; the next one asks again, and while it is there the token is renewed.
func TestNothingRunsWithoutConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cred := lasting(t, time.Hour)
		l := login(t, cred)
		c := &listener{}
		_, _, leave := subscribe(t, l, c)
		_, _, leaveToo := subscribe(t, l, c) // the same connection, initialised again
		leave()
		leaveToo()
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if cred.requests() != 1 || len(c.heard) != 0 {
			t.Errorf("%d requests, %d heard", cred.requests(), len(c.heard))
		}
		_, password, leave := subscribe(t, l, c)
		if password != token(t, principal, 2) {
			t.Error("an expired token is given")
		}
		leave()
		// A token that became due meanwhile is given, and renewed at once.
		time.Sleep(58 * time.Minute)
		_, password, leave = subscribe(t, l, c)
		defer leave()
		synctest.Wait()
		if password != token(t, principal, 2) || c.last() != token(t, principal, 3) {
			t.Error("a due token was not renewed at once")
		}
	})
}

// A credential that hangs holds a connection for Wait and the next ones not at all, and its own context ends.
func TestCredentialThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cred := &credential{answer: func(ctx context.Context, _ int) (azcore.AccessToken, error) {
			<-ctx.Done()
			return azcore.AccessToken{}, ctx.Err()
		}}
		l := login(t, cred)
		begun := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, _, err := l.Subscribe(&listener{}); !errors.Is(err, entralogin.ErrNoToken) ||
					time.Since(begun) != entralogin.Wait {
					t.Errorf("%v after %v", err, time.Since(begun))
				}
			})
		}
		wg.Wait()
		if _, _, err := l.Subscribe(&listener{}); !errors.Is(err, entralogin.ErrNoToken) ||
			time.Since(begun) != entralogin.Wait {
			t.Errorf("the next: %v after %v", err, time.Since(begun))
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if _, _, err := l.Subscribe(&listener{}); !errors.Is(err, entralogin.ErrNoToken) ||
			time.Since(begun) != 2*entralogin.Wait+30*time.Second {
			t.Errorf("after the request's end: %v after %v", err, time.Since(begun))
		}
		if n := cred.requests(); n != 2 {
			t.Errorf("%d requests", n)
		}
		time.Sleep(30 * time.Second)
	})
}

// A credential that ignores its context is given up and asked again, with three of its requests under way at most; and
// what it says too late is taken if it is newer.
func TestCredentialThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan azcore.AccessToken)
		cred := &credential{answer: func(context.Context, int) (azcore.AccessToken, error) {
			return <-answers, nil
		}}
		l := login(t, cred)
		refused := func(want string) {
			t.Helper()
			if _, _, err := l.Subscribe(&listener{}); !errors.Is(err, entralogin.ErrNoToken) ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		for n := 1; n <= 4; n++ {
			refused("has not answered within 10s")
			time.Sleep(25 * time.Second)
			synctest.Wait()
			switch {
			case n < 4 && cred.requests() != n:
				t.Fatalf("%d requests after %d connections", cred.requests(), n)
			case n == 3:
				time.Sleep(40 * time.Second) // the pause after three failures
				refused("3 requests of it hang")
				// spent before it serves
				answers <- azcore.AccessToken{Token: token(t, principal, 1), ExpiresOn: time.Now().Add(time.Second)}
				time.Sleep(40 * time.Second)
			}
		}
		if n := cred.requests(); n != 4 {
			t.Errorf("%d requests, want 4: three hang, and one has ended", n)
		}
		late := azcore.AccessToken{Token: token(t, principal, 2), ExpiresOn: time.Now().Add(time.Hour)}
		answers <- late
		synctest.Wait()
		who := &listener{}
		_, password, leave := subscribe(t, l, who)
		if password != late.Token {
			t.Error("a late answer is not taken")
		}
		answers <- azcore.AccessToken{Token: token(t, principal, 3), ExpiresOn: time.Now().Add(time.Minute)}
		synctest.Wait()
		if who.last() != "" {
			t.Error("a late answer that ends earlier is taken")
		}
		newest := azcore.AccessToken{Token: token(t, principal, 4), ExpiresOn: time.Now().Add(2 * time.Hour)}
		answers <- newest
		synctest.Wait()
		if who.last() != newest.Token {
			t.Error("a late answer that is newer is not taken")
		}
		leave()
		time.Sleep(time.Minute)
	})
}

// While one connection is slow to hear of a token the next one comes; the other connections hear of both in their
// order, and one that has begun in between with the next one does not hear of it again.
func TestTheNewestTokenIsHeardLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cred := lasting(t, time.Hour)
		l := login(t, cred)
		connections := []*listener{{}, {}, {}}
		first := make(chan struct{}, 1)
		for _, c := range connections {
			c.hook = func() {
				select {
				case first <- struct{}{}:
					time.Sleep(90 * time.Minute)
				default:
				}
			}
			_, _, leave := subscribe(t, l, c)
			defer leave()
		}
		// the third token is there since 1:50, the slow connection is through at 2:25
		time.Sleep(2 * time.Hour)
		between := &listener{}
		_, password, leave := subscribe(t, l, between)
		defer leave()
		time.Sleep(40 * time.Minute)
		synctest.Wait()
		if password != token(t, principal, 3) || len(between.heard) != 0 {
			t.Errorf("a connection that began with the newest token heard of it %d times more", len(between.heard))
		}
		for _, c := range connections {
			if c.last() != token(t, principal, 3) || len(c.heard) != 2 {
				t.Errorf("heard of %d tokens, the newest not last", len(c.heard))
			}
		}
	})
}

// go-redis subscribes again when it makes a connection ready once more. It has the newest token then, and hears of none
// before it, which another connection is slow to hear of.
func TestWhoSubscribesAgainHearsOfNoOlderToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := login(t, lasting(t, time.Hour))
		connections := []*listener{{}, {}}
		var slow *listener // hears of the second token from 0:55 to 2:25
		for _, c := range connections {
			c.hook = func() {
				if slow == nil {
					slow = c
					time.Sleep(90 * time.Minute)
				}
			}
			_, _, leave := subscribe(t, l, c)
			defer leave()
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		other := connections[0]
		if other == slow {
			other = connections[1]
		}
		if _, password, _ := subscribe(t, l, other); password != token(t, principal, 3) {
			t.Error("the newest token is not what a connection gets")
		}
		time.Sleep(40 * time.Minute)
		synctest.Wait()
		if len(other.heard) != 0 || slow.last() != token(t, principal, 3) {
			t.Errorf("heard of %d tokens after the newest; the slow one of %d", len(other.heard), len(slow.heard))
		}
	})
}

// What New and Subscribe refuse says what to change; neither an error, a log record nor any verb shows a token.
func TestErrorsAndNoTokenInThem(t *testing.T) {
	if _, err := entralogin.New(nil, nil); err == nil {
		t.Error("no credential: no error")
	}
	noOID := token(t, "", 1)
	for _, c := range []struct {
		name, want string
		answer     azcore.AccessToken
		err        error
	}{
		{"expired", "clock", azcore.AccessToken{Token: token(t, principal, 1), ExpiresOn: time.Now().Add(-time.Second)}, nil},
		{"no object id", "Options.Username", azcore.AccessToken{Token: noOID, ExpiresOn: time.Now().Add(time.Hour)}, nil},
		{"no JWT", "Options.Username", azcore.AccessToken{Token: "opaque-s3cret", ExpiresOn: time.Now().Add(time.Hour)}, nil},
		{"no token", "AADSTS700016", azcore.AccessToken{}, errors.New("AADSTS700016: no such application")},
	} {
		var records bytes.Buffer
		l, err := entralogin.New(&credential{answer: func(context.Context, int) (azcore.AccessToken, error) {
			return c.answer, c.err
		}},
			&entralogin.Options{Logger: slog.New(slog.NewTextHandler(&records, nil))})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = l.Subscribe(&listener{})
		if !errors.Is(err, entralogin.ErrNoToken) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if secret := c.answer.Token; secret != "" &&
			strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err)+records.String(), secret) {
			t.Errorf("%s: a token is shown: %v, %s", c.name, err, records.String())
		}
	}
	// A user of one's own: the token may be anything.
	l, err := entralogin.New(&credential{answer: func(context.Context, int) (azcore.AccessToken, error) {
		return azcore.AccessToken{Token: "opaque-s3cret", ExpiresOn: time.Now().Add(time.Hour)}, nil
	}}, &entralogin.Options{Username: "service"})
	if err != nil {
		t.Fatal(err)
	}
	c, unsubscribe, err := l.Subscribe(&listener{})
	if err != nil {
		t.Fatal(err)
	}
	defer unsubscribe()
	if user, password := c.BasicAuth(); user != "service" || password != "opaque-s3cret" ||
		c.RawCredentials() != password {
		t.Errorf("credentials of %q", user)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, l} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "s3cret") || strings.Contains(text, "733363726574") {
				t.Errorf("%s of %T shows the token", verb, v)
			}
		}
	}
	if text, err := json.Marshal([]any{c, l}); strings.Contains(string(text), "s3cret") {
		t.Errorf("JSON shows the token: %v", err)
	}
}
