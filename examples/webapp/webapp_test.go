package main

import (
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// site is two instances behind one address.
type site struct {
	url   string
	world *standin.World
	at    []*url.URL // of the instances
}

func newSite(t *testing.T) *site {
	t.Helper()
	return siteOn(t, redistest.Start(t).URL())
}

func siteOn(t *testing.T, redisURL string) *site {
	t.Helper()
	e := example
	e.RedisURL = redisURL
	s := &site{world: standin.ForTest(t, e)}
	outside, inside := listen(t), listen(t)
	s.url = localhost(outside)
	for _, name := range []string{"instance 1", "instance 2"} {
		at, stop, err := instance(name, s.url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		s.at = append(s.at, at)
	}
	t.Cleanup(serve(inside, balance(s.at)))
	t.Cleanup(serve(outside, front(s.world, s.url, &url.URL{Scheme: "http", Host: inside.Addr().String()})))
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// browser is an HTTP client with cookies. It goes on where it is sent, unless stop says so.
type browser struct {
	t      *testing.T
	site   *site
	client *http.Client
	stop   func(*http.Request) bool
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, site: s}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b.client = &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(next *http.Request, _ []*http.Request) error {
			if b.stop != nil && b.stop(next) {
				return http.ErrUseLastResponse
			}
			return nil
		}}
	return b
}

func (b *browser) home() *url.URL {
	b.t.Helper()
	u, err := url.Parse(b.site.url)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

func (b *browser) cookies() (all string) {
	b.t.Helper()
	for _, c := range b.client.Jar.Cookies(b.home()) {
		all += c.String() + "\n"
	}
	return all
}

type page struct {
	status             int
	body, instance, at string
	next               string // where a page that was not followed sends the browser
}

func (b *browser) do(method, target string, header http.Header) page {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, target, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{resp.StatusCode, string(body), resp.Header.Get("X-Instance"), resp.Request.URL.String(),
		resp.Header.Get("Location")}
}

func (b *browser) get(path string) page {
	b.t.Helper()
	return b.do(http.MethodGet, b.site.url+path, nil)
}

// on is get at one instance. Cookies do not look at ports.
func (b *browser) on(instance int, path string) page {
	b.t.Helper()
	return b.do(http.MethodGet, "http://localhost:"+b.site.at[instance].Port()+path, nil)
}

var choice = regexp.MustCompile(`href="([^"]+)">([^<]+)<`)

// pick is the address behind a user's name on the page where Entra ID asks who is there.
func (b *browser) pick(picker page, username string) string {
	b.t.Helper()
	for _, m := range choice.FindAllStringSubmatch(picker.body, -1) {
		if m[2] == username {
			at, err := url.Parse(picker.at)
			if err != nil {
				b.t.Fatal(err)
			}
			at, err = at.Parse(html.UnescapeString(m[1]))
			if err != nil {
				b.t.Fatal(err)
			}
			return at.String()
		}
	}
	b.t.Fatalf("no %s to pick at %s: %s", username, picker.at, picker.body)
	return ""
}

func (b *browser) signIn(username, name string) {
	b.t.Helper()
	p := b.do(http.MethodGet, b.pick(b.get("/signin"), username), nil)
	if p.status != http.StatusOK || !strings.Contains(p.body, name) {
		b.t.Fatalf("after the sign-in of %s: %+v", username, p)
	}
}

// callback signs in as far as the address that brings the code back.
func (b *browser) callback(username string, change func(authorize url.Values)) *url.URL {
	b.t.Helper()
	picked := b.pick(b.get("/signin"), username)
	u, err := url.Parse(picked)
	if err != nil {
		b.t.Fatal(err)
	}
	if change != nil {
		q := u.Query()
		change(q)
		u.RawQuery = q.Encode()
	}
	b.stop = func(r *http.Request) bool { return r.URL.Path == "/callback" }
	defer func() { b.stop = nil }()
	back, err := url.Parse(b.do(http.MethodGet, u.String(), nil).next)
	if err != nil || back.Query().Get("code") == "" {
		b.t.Fatalf("no code comes back: %v, %v", back, err)
	}
	return back
}

func (b *browser) wantMe(instance int, username string) {
	b.t.Helper()
	if p := b.on(instance, "/me"); p.status != http.StatusOK || !strings.Contains(p.body, username) {
		b.t.Errorf("/me on instance %d: %+v, want %s", instance+1, p, username)
	}
}

func (b *browser) wantNobody(instance int) {
	b.t.Helper()
	if p := b.on(instance, "/me"); p.status != http.StatusUnauthorized {
		b.t.Errorf("/me on instance %d: %+v, want 401", instance+1, p)
	}
	if p := b.on(instance, "/"); p.status != http.StatusOK || !strings.Contains(p.body, "Nobody is signed in") {
		b.t.Errorf("/ on instance %d: %+v, want nobody", instance+1, p)
	}
}

// The tests run side by side.
func init() { *address = "127.0.0.1:0" }

// What is started by hand: a browser finds the application and Entra ID's pages at the address that is printed.
func TestExampleServesUntilItsEnd(t *testing.T) {
	t.Parallel()
	w := standin.ForTest(t, example)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := example.Run(ctx, in, w)
		in.CloseWithError(err)
		ended <- err
	}()
	s := &site{world: w}
	if _, err := fmt.Fscanf(out, "instances: 2, at %s\n", &s.url); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	b := s.browser(t)
	b.signIn("ada@contoso.com", "Ada Lovelace")
	if p := b.do(http.MethodPost, s.url+"/signout", nil); p.status != http.StatusOK || p.at != s.url+"/" {
		t.Errorf("after the sign-out: %+v", p)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestSignInIsGoodOnEveryInstance(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	b.signIn("ada@contoso.com", "Ada Lovelace")
	seen := map[string]bool{}
	for range 6 {
		p := b.get("/me")
		if p.status != http.StatusOK || !strings.Contains(p.body, "ada@contoso.com") {
			t.Fatalf("/me: %+v", p)
		}
		seen[p.instance] = true
	}
	if len(seen) != 2 {
		t.Errorf("the requests came to %v, want two instances", seen)
	}
	if n := s.world.Entra.Count(); n != 1 {
		t.Errorf("%d token requests, want 1: the code", n)
	}
	if n := s.world.Answers(graphHost, http.StatusOK); n != 6 {
		t.Errorf("Graph was called %d times with a valid token, want 6", n)
	}
}

// Tokens that are spent when they arrive stand for those that have expired since.
func TestExpiredTokenIsRefreshedOnceForAllInstances(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		s := siteOn(t, url)
		s.world.Entra.SetBehavior(func(b *entratest.Behavior) {
			b.AccessTokenLifetime, b.RotateRefreshTokens = 4*time.Minute, true
		})
		b := s.browser(t)
		b.stop = func(r *http.Request) bool { return r.URL.Path == "/" } // which would refresh
		if p := b.do(http.MethodGet, b.pick(b.get("/signin"), "ada@contoso.com"), nil); p.next != "/" {
			t.Fatalf("after the sign-in: %+v", p)
		}
		s.world.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Hour })
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() { b.wantMe(i%2, "ada@contoso.com") })
		}
		wg.Wait()
		if n := s.world.Entra.Count(entratest.ByGrant("refresh_token")); n != 1 {
			t.Errorf("the refresh token was redeemed %d times, want 1", n)
		}
	})
}

func TestSignOutHoldsOnEveryInstanceAndInEveryBrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	laptop, phone, colleague := s.browser(t), s.browser(t), s.browser(t)
	laptop.signIn("ada@contoso.com", "Ada Lovelace")
	phone.signIn("ada@contoso.com", "Ada Lovelace")
	colleague.signIn("grace@contoso.com", "Grace Hopper")
	for i := range 2 {
		laptop.wantMe(i, "ada@contoso.com")
		phone.wantMe(i, "ada@contoso.com")
		colleague.wantMe(i, "grace@contoso.com")
	}
	before := s.world.Entra.Count()
	thief := s.browser(t) // who has copied the laptop's cookie
	thief.client.Jar.SetCookies(thief.home(), laptop.client.Jar.Cookies(laptop.home()))
	thief.wantMe(0, "ada@contoso.com")

	if p := laptop.do(http.MethodPost, s.url+"/signout", nil); p.status != http.StatusOK ||
		!strings.Contains(p.body, "Nobody is signed in") {
		t.Fatalf("after the sign-out: %+v", p)
	}
	for i := range 2 {
		laptop.wantNobody(i)
		thief.wantNobody(i)
		colleague.wantMe(i, "grace@contoso.com")
	}
	if n := s.world.Entra.Count(); n != before {
		t.Errorf("%d token requests after the sign-out, want none", n-before)
	}

	// A new sign-in is one of this browser. The phone has not asked since, and its session does not wake up.
	laptop.signIn("ada@contoso.com", "Ada Lovelace")
	for i := range 2 {
		laptop.wantMe(i, "ada@contoso.com")
		phone.wantNobody(i)
	}
	phone.signIn("ada@contoso.com", "Ada Lovelace")
	phone.wantMe(0, "ada@contoso.com")
	laptop.wantMe(1, "ada@contoso.com")
}

// An administrator ends the user's sign-ins at Entra ID: the next refresh says so, and the session is over.
func TestRevokedUserMustSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	s.world.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 4 * time.Minute })
	b.signIn("ada@contoso.com", "Ada Lovelace")
	s.world.Entra.AddFault(entratest.Fault{Match: entratest.ByGrant("refresh_token"), Status: 400,
		Body: entratest.ErrorBody("invalid_grant", 50173, "The provided grant has expired due to it being revoked.")})
	b.wantNobody(0)
	b.wantNobody(1)
}

// Entra ID's bad moments sign nobody out.
func TestEntraDownSignsNobodyOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	s.world.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 4 * time.Minute })
	b.stop = func(r *http.Request) bool { return r.URL.Path == "/" }
	b.do(http.MethodGet, b.pick(b.get("/signin"), "ada@contoso.com"), nil)
	b.stop = nil
	s.world.Entra.AddFault(entratest.Fault{Match: entratest.ByGrant("refresh_token"), Status: 429, RetryAfter: "60"})
	before := b.cookies()
	for i := range 2 {
		if p := b.on(i, "/me"); p.status != http.StatusBadGateway {
			t.Errorf("/me on instance %d: %+v, want 502", i+1, p)
		}
	}
	if after := b.cookies(); before == "" || before != after {
		t.Errorf("the session's cookie was %q and is %q", before, after)
	}
}

func TestForgedCallbacksAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	with := func(u *url.URL, name, value string) string {
		q := u.Query()
		q.Set(name, value)
		changed := *u
		changed.RawQuery = q.Encode()
		return changed.String()
	}
	for _, tt := range []struct {
		name string
		want int
		try  func(t *testing.T, b *browser) string
	}{
		{"another state", http.StatusBadRequest, func(_ *testing.T, b *browser) string {
			return with(b.callback("ada@contoso.com", nil), "state", "another")
		}},
		{"no state", http.StatusBadRequest, func(_ *testing.T, b *browser) string {
			return with(b.callback("ada@contoso.com", nil), "state", "")
		}},
		{"a cookie that is none", http.StatusBadRequest, func(_ *testing.T, b *browser) string {
			back := b.callback("ada@contoso.com", nil)
			b.client.Jar.SetCookies(b.home(), []*http.Cookie{{Name: "signin", Value: "..", Path: "/"}})
			return with(back, "state", "")
		}},
		{"a browser that began nothing", http.StatusBadRequest, func(t *testing.T, _ *browser) string {
			return s.browser(t).callback("grace@contoso.com", nil).String()
		}},
		{"the same twice", http.StatusBadRequest, func(_ *testing.T, b *browser) string {
			back := b.callback("ada@contoso.com", nil).String()
			b.stop = func(r *http.Request) bool { return r.URL.Path == "/" }
			if p := b.do(http.MethodGet, back, nil); p.status != http.StatusSeeOther {
				b.t.Errorf("the first time: %+v", p)
			}
			return back
		}},
		{"another nonce", http.StatusForbidden, func(_ *testing.T, b *browser) string {
			return b.callback("ada@contoso.com", func(q url.Values) { q.Set("nonce", "another") }).String()
		}},
		// The code of another browser's sign-in has another challenge, so Entra ID refuses it.
		{"an injected code", http.StatusBadGateway, func(t *testing.T, b *browser) string {
			code := s.browser(t).callback("grace@contoso.com", nil).Query().Get("code")
			return with(b.callback("ada@contoso.com", nil), "code", code)
		}},
		{"an error", http.StatusForbidden, func(_ *testing.T, b *browser) string {
			back := b.callback("ada@contoso.com", nil)
			return with(back, "error", "access_denied")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := s.browser(t)
			if p := b.do(http.MethodGet, tt.try(t, b), nil); p.status != tt.want {
				t.Errorf("%+v, want %d", p, tt.want)
			}
			if tt.name != "the same twice" {
				b.wantNobody(0)
				b.wantNobody(1)
			}
		})
	}
}

func TestSignOutFromAnotherSiteIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	b.signIn("ada@contoso.com", "Ada Lovelace")
	p := b.do(http.MethodPost, s.url+"/signout", http.Header{"Origin": {"https://evil.example"}})
	if p.status != http.StatusForbidden {
		t.Errorf("%+v, want 403", p)
	}
	b.wantMe(0, "ada@contoso.com")
	if p := b.do(http.MethodPost, s.url+"/signout", http.Header{"Origin": {s.url}}); p.status != http.StatusOK {
		t.Errorf("from its own page: %+v", p)
	}
	b.wantNobody(1)
}

// A sign-in gives the browser another session than the one it had.
func TestSessionIsNewAfterSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	session := func() string {
		for _, c := range b.client.Jar.Cookies(b.home()) {
			if c.Name == "session" {
				return c.Value
			}
		}
		return ""
	}
	b.signIn("ada@contoso.com", "Ada Lovelace")
	before := session()
	b.signIn("grace@contoso.com", "Grace Hopper")
	if after := session(); before == "" || after == "" || after == before {
		t.Errorf("the session before the sign-in %q, after it %q", before, after)
	}
	b.wantMe(0, "grace@contoso.com")
}

// Whoever has not signed in leaves nothing in the tokens' Redis, whatever he asks for.
func TestStrangersLeaveNothingInRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	s := siteOn(t, redis.URL())
	for _, path := range []string{"/", "/signin", "/callback", "/callback?state=x&code=y", "/me"} {
		for range 3 {
			b := s.browser(t)
			b.stop = func(*http.Request) bool { return true }
			b.get(path)
			b.get(path)
		}
	}
	s.browser(t).callback("ada@contoso.com", nil) // nor one who turns back at the last moment
	if keys := redis.Do("KEYS", "webapp:*"); len(keys.([]any)) != 0 {
		t.Errorf("in Redis: %v", keys)
	}
	b := s.browser(t)
	b.signIn("ada@contoso.com", "Ada Lovelace")
	if keys := redis.Do("KEYS", "webapp:*"); len(keys.([]any)) != 1 {
		t.Errorf("in Redis after a sign-in: %v, want a session", keys)
	}
}
