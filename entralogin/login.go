package entralogin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9/auth"

	"github.com/msal-redis/msal-redis-go/internal/redislogin"
)

// Scope is what a token for Azure's Redis is asked for.
// https://learn.microsoft.com/azure/redis/entra-for-authentication
const Scope = "https://redis.azure.com/.default"

// Wait is how long new connections wait for a token that is being asked for, from the start of the request on.
const Wait = 10 * time.Second

const (
	requestAtMost = 30 * time.Second // one request of the credential, its own retries included
	msalMargin    = 5 * time.Minute  // MSAL answers with the token it has until then
	failurePause  = 30 * time.Second // the longest between two tries
	leastPause    = time.Second
	hearsOfIt     = time.Second // what a credential gets to return in when its context has ended
	mostHanging   = 3           // requests of a credential that ignores its context, at a time
)

// ErrNoToken is what a connection gets that cannot log in for want of a token. The credential's own error is wrapped
// beside it.
var ErrNoToken = errors.New("entralogin: no token to log in to Redis with")

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
	now       credentials                         // the zero value: none
	asking    *request                            // under way; nil: none
	failed    error                               // the last request's; nil: it brought a token
	failures  int                                 // in a row; one that brought the same token again counts
	next      time.Time                           // when to ask
	hanging   int                                 // requests that were given up and go on
	listeners map[auth.CredentialsListener]string // the token that each has
	timer     *time.Timer                         // the next renewal; nil: nobody listens, or a request is under way

	telling chan struct{} // of one: a listener hears the newest token last
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
	begun time.Time
	done  chan struct{}
	err   error // set before done is closed
	over  bool  // done is closed, or about to be; guarded by the Login's mu
}

// New makes a Login. It asks nothing: a service starts while Entra ID is away. nil opts are all defaults.
func New(cred azcore.TokenCredential, opts *Options) (*Login, error) {
	if cred == nil {
		return nil, errors.New("entralogin: New: the credential is nil; make one with azidentity")
	}
	l := &Login{cred: cred, listeners: map[auth.CredentialsListener]string{}, telling: make(chan struct{}, 1)}
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

// Subscribe implements auth.StreamingCredentialsProvider: go-redis calls it for each connection. It returns the token
// at hand, or waits for one: go-redis gives it no context, so it waits for [Wait] at most. While the credential is left
// alone after a failure it fails at once, so that connections in number are no requests in number. Errors wrap
// [ErrNoToken].
func (l *Login) Subscribe(listener auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	l.mu.Lock()
	if !l.alive() {
		if l.asking == nil && l.failed != nil && time.Now().Before(l.next) {
			defer l.mu.Unlock()
			return nil, nil, l.failed
		}
		r := l.ask()
		l.mu.Unlock()
		if err := r.wait(); err != nil {
			return nil, nil, err
		}
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	l.listeners[listener] = l.now.token
	if l.timer == nil && l.asking == nil {
		l.arm()
	}
	return l.now, func() error { l.leave(listener); return nil }, nil
}

func (r *request) wait() error {
	limit := time.NewTimer(time.Until(r.begun.Add(Wait)))
	defer limit.Stop()
	select {
	case <-r.done:
		return r.err
	case <-limit.C:
		return fmt.Errorf("%w: the credential has not answered within %v; check that it can reach Entra ID", ErrNoToken, Wait)
	}
}

func (l *Login) alive() bool { return l.now.token != "" && time.Now().Before(l.now.expires) }

func (l *Login) leave(listener auth.CredentialsListener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listeners, listener)
	if len(l.listeners) == 0 && l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// pause is how long the credential is left alone after an answer. The caller holds mu.
func (l *Login) pause() time.Duration {
	left := time.Until(l.now.expires)
	p := max(left/3, leastPause)
	if l.failures > 0 {
		if left <= 0 {
			p = leastPause << min(l.failures-1, 5)
		}
		p = min(p, failurePause)
	}
	p += jitter(p/5) - p/10 // the instances of a fleet that started together do not ask together
	if l.failures > 0 {
		return p
	}
	at := l.now.expires.Add(-msalMargin)
	if r := l.now.refresh; !r.IsZero() && r.Before(at) {
		at = r
	}
	return max(p, time.Until(at)+jitter(min(l.now.expires.Sub(at)/10, failurePause)))
}

func jitter(most time.Duration) time.Duration { return rand.N(max(most, 1)) }

// arm sets the next renewal, in place of one that is set. The caller holds mu.
func (l *Login) arm() {
	if l.timer != nil {
		l.timer.Stop()
	}
	var t *time.Timer
	t = time.AfterFunc(time.Until(l.next), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.timer == t { // else it fired while it was being stopped
			l.ask()
		}
	})
	l.timer = t
}

// ask asks the credential, or joins a request that is under way. The caller holds mu.
func (l *Login) ask() *request {
	if l.asking != nil {
		return l.asking
	}
	r := &request{begun: time.Now(), done: make(chan struct{})}
	l.asking = r
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	go l.request(r)
	return r
}

// request asks the credential. One that ignores its context is given up, and asked again later; what it says after all
// is taken.
func (l *Login) request(r *request) {
	if l.hangs() {
		l.answered(r, credentials{}, fmt.Errorf("%w: the credential ignores its context, and %d requests of it hang",
			ErrNoToken, mostHanging))
		return
	}
	ctx, cancel := context.WithTimeout(redislogin.Mark(context.Background()), requestAtMost)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.token(ctx)
		l.answered(r, c, err)
	}()
	limit := time.NewTimer(requestAtMost + hearsOfIt)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		l.giveUp(r, fmt.Errorf("%w: the credential has not answered within %v, and ignores that its context has ended",
			ErrNoToken, requestAtMost))
	}
}

func (l *Login) hangs() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hanging == mostHanging
}

// answered takes an answer in and tells the listeners. A failure they are not told: go-redis would close connections
// whose token is still good.
func (l *Login) answered(r *request, c credentials, err error) {
	l.mu.Lock()
	late := r.over
	if late {
		l.hanging--
		if err != nil || !c.expires.After(l.now.expires) {
			l.mu.Unlock()
			return
		}
	}
	l.settle(r, c, err, late)
}

// giveUp answers for a credential that does not.
func (l *Login) giveUp(r *request, err error) {
	l.mu.Lock()
	if r.over {
		l.mu.Unlock()
		return
	}
	l.hanging++
	l.settle(r, credentials{}, err, false)
}

// settle is what an answer changes. The caller holds mu, and settle releases it.
func (l *Login) settle(r *request, c credentials, err error, late bool) {
	fresh := err == nil && c.token != l.now.token
	if err == nil {
		l.now = c
	}
	if l.failed, l.failures = err, l.failures+1; fresh {
		l.failures = 0
	}
	l.next = time.Now().Add(l.pause())
	if !late {
		l.asking, r.over = nil, true
	}
	if l.asking == nil && len(l.listeners) > 0 {
		l.arm()
	}
	kept := l.alive()
	l.mu.Unlock()
	if err != nil {
		l.o.Logger.Warn("entralogin: the token for Redis was not renewed; it is tried again", "kept", kept, "error", err)
	}
	if !late {
		r.err = err
		close(r.done)
	}
	if fresh {
		l.tell()
	}
}

// tell tells the newest token to the listeners that do not have it. One that subscribed since the token came has it:
// told again, its connection would log in a second time.
func (l *Login) tell() {
	l.telling <- struct{}{}
	defer func() { <-l.telling }()
	l.mu.Lock()
	now, has := l.now, maps.Clone(l.listeners)
	l.mu.Unlock()
	for listener, token := range has {
		if token != now.token && l.hands(listener, token, now.token) {
			listener.OnNext(now)
		}
	}
}

// hands notes that a listener which has one token gets the next. It does not get it if it left meanwhile, or subscribed
// again: then it has a newer one.
func (l *Login) hands(listener auth.CredentialsListener, token, next string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if has, listens := l.listeners[listener]; !listens || has != token {
		return false
	}
	l.listeners[listener] = next
	return true
}

func (l *Login) token(ctx context.Context) (credentials, error) {
	t, err := l.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: l.scopes})
	if err != nil {
		return credentials{}, fmt.Errorf("%w: %w", ErrNoToken, err)
	}
	if !t.ExpiresOn.After(time.Now()) {
		return credentials{}, fmt.Errorf("%w: the credential answered with an expired one; check this machine's clock",
			ErrNoToken)
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
		return "", fmt.Errorf("%w: it names no object id (claim oid): set Options.Username to the Redis user", ErrNoToken)
	}
	return claims.ObjectID, nil
}

// Format implements fmt.Formatter: no verb shows a token.
func (l *Login) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entralogin.Login") }
