package entralogin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9/auth"
)

// Scope is what a token for Azure's Redis is asked for.
// https://learn.microsoft.com/azure/redis/entra-for-authentication
const Scope = "https://redis.azure.com/.default"

// Wait is how long a new connection waits for a token.
const Wait = 10 * time.Second

const (
	requestAtMost = 30 * time.Second // one request of the credential, its own retries included
	msalMargin    = 5 * time.Minute  // MSAL answers with the token it has until then
	failurePause  = 30 * time.Second // the longest between two tries
	leastPause    = time.Second
)

// Options are the settings of a [Login]. nil is the zero value.
type Options struct {
	// Scope is for clouds that have another. Default [Scope].
	Scope string

	// Username is the Redis user. Default: the oid claim of the token, which Azure expects.
	Username string

	// Logger hears of failed renewals. It never receives a token or a user. Default slog.Default().
	Logger *slog.Logger
}

// Login is an auth.StreamingCredentialsProvider. It is safe for concurrent use; one serves any number of clients.
type Login struct {
	cred   azcore.TokenCredential
	o      Options
	scopes []string

	mu        sync.Mutex
	now       credentials // the zero value: none
	asking    *request    // under way; nil: none
	listeners map[auth.CredentialsListener]struct{}
	timer     *time.Timer // the next renewal; nil: nobody listens, or a request is under way
}

var _ auth.StreamingCredentialsProvider = (*Login)(nil)

// credentials are a user name and a token. They never print.
type credentials struct {
	user, token      string
	expires, refresh time.Time
}

// BasicAuth implements auth.Credentials.
func (c credentials) BasicAuth() (username, password string) { return c.user, c.token }

// RawCredentials implements auth.Credentials.
func (c credentials) RawCredentials() string { return c.token }

// Format implements fmt.Formatter.
func (c credentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entralogin credentials") }

// request is one question to the credential, shared by all who want its answer.
type request struct {
	done chan struct{}
	now  credentials
	err  error
}

// New makes a Login. It asks nothing: a service starts while Entra ID is away. nil opts are all defaults.
func New(cred azcore.TokenCredential, opts *Options) (*Login, error) {
	if cred == nil {
		return nil, errors.New("entralogin: New: the credential is nil; make one with azidentity")
	}
	l := &Login{cred: cred, listeners: map[auth.CredentialsListener]struct{}{}}
	if opts != nil {
		l.o = *opts
	}
	if l.o.Scope == "" {
		l.o.Scope = Scope
	}
	if l.o.Logger == nil {
		l.o.Logger = slog.Default()
	}
	l.scopes = []string{l.o.Scope}
	return l, nil
}

// Subscribe implements auth.StreamingCredentialsProvider: go-redis calls it for each connection. It returns the token at hand, or
// waits for one, for [Wait] at most. Its errors wrap the credential's.
func (l *Login) Subscribe(listener auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	unsubscribe := func() error { l.leave(listener); return nil }
	l.mu.Lock()
	if l.alive() {
		defer l.mu.Unlock()
		l.join(listener)
		return l.now, unsubscribe, nil
	}
	r := l.ask()
	l.mu.Unlock()

	limit := time.NewTimer(Wait)
	defer limit.Stop()
	select {
	case <-r.done:
	case <-limit.C:
		return nil, nil, fmt.Errorf("entralogin: no token within %v; check that Entra ID can be reached, and that the credential uses no "+
			"msalredis.Cache on this Redis: it would wait for itself", Wait)
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join(listener)
	return l.now, unsubscribe, nil // which may be newer than r's
}

func (l *Login) alive() bool { return l.now.token != "" && time.Now().Before(l.now.expires) }

// join adds a listener. The caller holds mu.
func (l *Login) join(listener auth.CredentialsListener) {
	l.listeners[listener] = struct{}{}
	if l.timer == nil && l.asking == nil {
		l.arm(l.pause(false))
	}
}

func (l *Login) leave(listener auth.CredentialsListener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listeners, listener)
	if len(l.listeners) == 0 && l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// pause is how long to wait before the credential is asked next. The caller holds mu.
func (l *Login) pause(again bool) time.Duration {
	now := time.Now()
	at := l.now.expires.Add(-msalMargin)
	if r := l.now.refresh; !r.IsZero() && r.Before(at) {
		at = r
	}
	if !again && at.After(now) {
		return at.Sub(now)
	}
	pause := l.now.expires.Sub(now) / 3
	if again {
		pause = min(pause, failurePause)
	}
	pause = max(pause, leastPause)
	return pause - pause/10 + rand.N(pause/5) // the instances of a fleet do not ask at once
}

// arm sets the next renewal. The caller holds mu.
func (l *Login) arm(d time.Duration) {
	l.timer = time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.timer = nil
		if len(l.listeners) > 0 {
			l.ask()
		}
	})
}

// ask asks the credential, or joins a request that is under way. The caller holds mu.
func (l *Login) ask() *request {
	if l.asking != nil {
		return l.asking
	}
	r := &request{done: make(chan struct{})}
	l.asking = r
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	go func() {
		r.now, r.err = l.token()
		l.answered(r)
	}()
	return r
}

// answered takes an answer in and tells the listeners. A failure they are not told: go-redis would close connections whose
// token is still good.
func (l *Login) answered(r *request) {
	l.mu.Lock()
	l.asking = nil
	fresh := r.err == nil && r.now.token != l.now.token
	if r.err == nil {
		l.now = r.now
	}
	var tell []auth.CredentialsListener
	if fresh {
		for listener := range l.listeners {
			tell = append(tell, listener)
		}
	}
	if len(l.listeners) > 0 {
		l.arm(l.pause(!fresh))
	}
	l.mu.Unlock()
	close(r.done)
	if r.err != nil {
		l.o.Logger.Warn("entralogin: the Redis login token was not renewed; it is tried again", "error", r.err)
	}
	for _, listener := range tell {
		listener.OnNext(r.now)
	}
}

func (l *Login) token() (credentials, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestAtMost)
	defer cancel()
	t, err := l.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: l.scopes})
	if err != nil {
		return credentials{}, fmt.Errorf("entralogin: no token for %s: %w", l.o.Scope, err)
	}
	if !t.ExpiresOn.After(time.Now()) {
		return credentials{}, errors.New("entralogin: the credential answered with an expired token; check this machine's clock")
	}
	c := credentials{user: l.o.Username, token: t.Token, expires: t.ExpiresOn, refresh: t.RefreshOn}
	if c.user == "" {
		if c.user, err = objectID(t.Token); err != nil {
			return credentials{}, err
		}
	}
	return c, nil
}

// objectID is the principal's. The token is not verified: Redis does that.
func objectID(token string) (string, error) {
	var claims struct {
		jwt.RegisteredClaims
		ObjectID string `json:"oid"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil || claims.ObjectID == "" {
		return "", errors.New("entralogin: the token names no object id (claim oid): set Options.Username to the Redis user")
	}
	return claims.ObjectID, nil
}

// Format implements fmt.Formatter: no verb shows a token.
func (l *Login) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entralogin.Login") }
