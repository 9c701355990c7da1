package msalredis_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// A sign-out wins over a refresh that races it, and a sign-in after it is kept. The tests of this file force every order of
// their steps: they stop one instance at each command it gives Redis, each request it sends, and each call that MSAL makes of its
// accessor, before and after, and let another do its whole work there. Everything is stopped from outside: by a hook of the Redis
// client, by the HTTP transport, and around the accessor.

// steps stops an instance at a step.
type steps struct {
	mu    sync.Mutex
	on    bool
	count map[string]int
	seen  []string
	at    string        // where to stop
	there chan struct{} // closed when it stops
	leave chan struct{} // closed to let it go on
}

// watch begins to note the steps, and stops at one of them, unless it is "".
func (s *steps) watch(at string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on, s.count, s.seen, s.at = true, map[string]int{}, nil, at
	s.there, s.leave = make(chan struct{}), make(chan struct{})
}

// end lets everything pass, and is what was noted.
func (s *steps) end() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on && s.at != "" {
		s.at = ""
		close(s.leave)
	}
	s.on = false
	return s.seen
}

func (s *steps) pass(what, when string) {
	if s == nil || what == "" {
		return
	}
	s.mu.Lock()
	if !s.on {
		s.mu.Unlock()
		return
	}
	s.count[what+when]++
	name := fmt.Sprintf("%s %d %s", what, s.count[what+when], when)
	s.seen = append(s.seen, name)
	stop, there, leave := name == s.at, s.there, s.leave
	s.mu.Unlock()
	if stop {
		close(there)
		<-leave
	}
}

func (s *steps) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s *steps) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (s *steps) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		what := step(cmd)
		s.pass(what, "before")
		err := next(ctx, cmd)
		s.pass(what, "after")
		return err
	}
}

// step names a command by the keys it is given.
func step(cmd redis.Cmder) string {
	switch {
	case isSignOut(cmd):
		return "sign out"
	case hasKeys(cmd, ":response", ":tombstone", ":pause", ":fence"):
		return "forget answer"
	case hasKeys(cmd, ":response", ":tombstone", ":pause"):
		return "keep answer"
	case hasKeys(cmd, ":response", ":pause"):
		return "look for answer"
	case hasKeys(cmd, ":rids", ":tombstone"):
		return "list answer"
	case hasKeys(cmd, ":lock", ":fence"):
		return "fence"
	case isStore(cmd):
		return "store"
	case hasKeys(cmd, ":tokens", ":tombstone"):
		return "look"
	case hasKeys(cmd, ":lock"):
		if len(cmd.Args()) == 7 {
			return "lease"
		}
		return "release"
	}
	switch cmd.Name() {
	case "publish", "zrem":
		return cmd.Name()
	}
	return ""
}

// stopping is an accessor that stops.
type stopping struct {
	cache.ExportReplace
	steps *steps
}

func (s stopping) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	s.steps.pass("Replace", "before")
	defer s.steps.pass("Replace", "after")
	return s.ExportReplace.Replace(ctx, u, hints)
}

func (s stopping) Export(ctx context.Context, m cache.Marshaler, hints cache.ExportHints) error {
	s.steps.pass("Export", "before")
	defer s.steps.pass("Export", "after")
	return s.ExportReplace.Export(ctx, m, hints)
}

// descent knows of each token from which sign-in it comes, by way of which refreshes.
type descent struct {
	mu   sync.Mutex
	last int
	of   map[string]int // by secret
}

func newDescent() *descent { return &descent{of: map[string]int{}} }

func (d *descent) root(secret string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.of[secret]
}

// learn takes in the answer to a request.
func (d *descent) learn(form url.Values, body []byte) {
	var tokens map[string]any
	if json.Unmarshal(body, &tokens) != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	root := d.of[form.Get("refresh_token")]
	if form.Get("grant_type") != "refresh_token" {
		d.last++
		root = d.last
	}
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if secret, ok := tokens[name].(string); ok && d.of[secret] == 0 {
			d.of[secret] = root
		}
	}
}

// line is an instance's way to Entra ID.
type line struct {
	base    http.RoundTripper
	steps   *steps
	descent *descent
}

func (l line) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost {
		return l.base.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body.Close()
	again := req.Clone(req.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	l.steps.pass("request", "before")
	resp, err := l.base.RoundTrip(again)
	if err == nil {
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		form, _ := url.ParseQuery(string(body))
		l.descent.learn(form, answer)
		resp.Body = io.NopCloser(bytes.NewReader(answer))
	}
	l.steps.pass("request", "after")
	return resp, err
}

// staged is an instance that can be stopped.
type staged struct {
	*instance
	steps *steps
	app   confidential.Client
}

func (w *world) staged(d *descent, hooks ...redis.Hook) *staged {
	w.t.Helper()
	s := &steps{}
	rdb := w.client()
	for _, h := range hooks {
		rdb.AddHook(h)
	}
	rdb.AddHook(s)
	i := w.instanceOn(hooked{rdb}, w.sealer(w.keys), options(w.prefix))
	base := w.entra.Transport()
	w.t.Cleanup(base.CloseIdleConnections)
	i.http = &http.Client{Transport: i.tokens.Transport(line{base, s, d})}
	st := &staged{instance: i, steps: s}
	st.renew()
	return st
}

// renew gives the instance a new MSAL client, whose memory holds nothing of earlier users.
func (i *staged) renew() {
	i.w.t.Helper()
	i.app = newApp(i.w.t, i.w.entra.Authority(tenant), stopping{i.tokens, i.steps}, i.http)
}

// stage is a fleet of three: here something is under way, there it is undone, and elsewhere somebody begins anew.
type stage struct {
	*world
	descent                *descent
	here, there, elsewhere *staged
	users                  int
}

func newStage(t *testing.T, hooks ...redis.Hook) *stage {
	w := newWorld(t)
	d := newDescent()
	s := &stage{world: w, descent: d, here: w.staged(d), there: w.staged(d, hooks...), elsewhere: w.staged(d)}
	return s
}

// user is a new one, who has signed in here and is known there.
func (s *stage) user() entratest.User {
	s.t.Helper()
	u := entratest.User{ObjectID: fmt.Sprintf("%08d-0000-4000-8000-00000000000b", s.users), TenantID: tenant, Username: fmt.Sprintf("staged%d@contoso.com", s.users), Name: "A User"}
	s.users++
	s.entra.AddUser(u)
	canary.user(u)
	for _, i := range []*staged{s.here, s.there, s.elsewhere} {
		i.renew()
	}
	s.here.signIn(s.here.app, u)
	must(s.t)(silent(context.Background(), s.there.app, u.HomeAccountID()))
	return u
}

func succeeds(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		canary.sawError(err)
		t.Errorf("%v", err)
	}
}

// during runs act on an instance, which is stopped at a step while f runs.
func (i *staged) during(t *testing.T, at string, act func(), f func()) {
	t.Helper()
	i.steps.watch(at)
	defer i.steps.end()
	done := make(chan struct{})
	go func() { defer close(done); act() }()
	select {
	case <-i.steps.there:
	case <-done:
		t.Fatalf("it never came to %q", at)
	}
	f()
	i.steps.end()
	within(t, "what was stopped ends", done)
}

// within waits for what must come, within a generous bound.
func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not within 20 s", what)
	}
}

// stepsOf are the steps of what act returns, which nothing disturbs: those that it takes each time, for on a busy machine
// another look may come. The first time loads the scripts.
func (i *staged) stepsOf(t *testing.T, act func() func()) (seen []string) {
	t.Helper()
	act()()
	for n := range 3 {
		f := act()
		i.steps.watch("")
		f()
		steps := slices.Clone(i.steps.end())
		if n == 0 {
			seen = steps
		}
		seen = slices.DeleteFunc(seen, func(s string) bool { return !slices.Contains(steps, s) })
	}
	for _, want := range []string{"before", "after"} {
		if !slices.ContainsFunc(seen, func(s string) bool { return strings.HasSuffix(s, want) }) {
			t.Fatalf("steps %q: this test shows nothing", seen)
		}
	}
	return seen
}

// sinceThen are the keys that were not there before, but for those that say nothing of a user: a tombstone and a fence.
func (s *stage) sinceThen(before []string) (left []string) {
	for _, k := range s.keysOf() {
		if !slices.Contains(before, k) && !strings.HasSuffix(k, ":tombstone") && !strings.HasSuffix(k, ":fence") {
			left = append(left, k[strings.LastIndex(k, "}"):])
		}
	}
	return left
}

// signedOut checks that nothing of a user is left: in Redis, on any instance, for any of the scopes.
func (s *stage) signedOut(t *testing.T, u entratest.User, before []string) {
	t.Helper()
	ctx := context.Background()
	if left := s.sinceThen(before); len(left) > 0 {
		t.Errorf("left of the user: %q", left)
	}
	for name, app := range map[string]confidential.Client{"here": s.here.app, "there": s.there.app, "elsewhere": s.elsewhere.app} {
		for _, scope := range []string{userScope, mailScope} {
			eventually(t, name+" signs out", func() bool {
				_, err := silent(ctx, app, u.HomeAccountID(), scope)
				return err != nil
			})
		}
	}
	if left := s.sinceThen(before); len(left) > 0 {
		t.Errorf("back after asking: %q", left)
	}
}

// signedIn checks that a sign-in is kept, and that no token from before it is: in Redis, and on any instance.
func (s *stage) signedIn(t *testing.T, u entratest.User, fresh confidential.AuthResult) {
	t.Helper()
	ctx := context.Background()
	root := s.descent.root(fresh.AccessToken)
	check := func(when string) {
		t.Helper()
		found := map[string]int{}
		for _, r := range s.records() {
			if r.HomeAccountID != u.HomeAccountID() || r.Secret == "" {
				continue
			}
			found[r.Section]++
			if got := s.descent.root(r.Secret); got != root {
				t.Errorf("%s: Redis holds a %s of sign-in %d, want %d", when, r.Section, got, root)
			}
		}
		if found["RefreshToken"] != 1 || found["AccessToken"] == 0 {
			t.Errorf("%s: Redis holds %v of the sign-in", when, found)
		}
	}
	check("at once")
	for name, app := range map[string]confidential.Client{"here": s.here.app, "there": s.there.app, "elsewhere": s.elsewhere.app} {
		for _, scope := range []string{userScope, mailScope} {
			eventually(t, name+" has the sign-in", func() bool {
				got, err := silent(ctx, app, u.HomeAccountID(), scope)
				return err == nil && s.descent.root(got.AccessToken) == root
			})
		}
	}
	check("after asking")
}

// A user's refresh here, a sign-out there at each of its steps: nothing comes back, and a sign-in elsewhere right after the
// sign-out is kept.
func TestSignOutAtEachStepOfARefresh(t *testing.T) {
	for _, tt := range []struct {
		name string
		out  func(*stage, entratest.User) error
	}{
		{"Cache.RemoveAccount", func(s *stage, u entratest.User) error {
			return s.there.tokens.RemoveAccount(context.Background(), u.HomeAccountID())
		}},
		{"MSAL's RemoveAccount", func(s *stage, u entratest.User) error {
			account, err := s.there.app.Account(context.Background(), u.HomeAccountID())
			if err != nil {
				return err
			}
			return s.there.app.RemoveAccount(context.Background(), account)
		}},
		{"here", func(s *stage, u entratest.User) error {
			return s.here.tokens.RemoveAccount(context.Background(), u.HomeAccountID())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.eachStep(t, func(u entratest.User) { succeeds(t, tt.out(s, u)) })
		})
	}
}

// eachStep runs a user's refresh here with out, which signs out, at each of its steps; and then once more with a sign-in
// elsewhere after it.
func (s *stage) eachStep(t *testing.T, out func(entratest.User)) {
	refresh := func(u entratest.User) func() {
		return func() { _, _ = silent(context.Background(), s.here.app, u.HomeAccountID(), mailScope) }
	}
	for _, at := range befores(s.here.stepsOf(t, func() func() { return refresh(s.user()) })) {
		for _, again := range []bool{false, true} {
			before := s.keysOf()
			u := s.user()
			var fresh confidential.AuthResult
			s.here.during(t, at, refresh(u), func() {
				out(u)
				if again {
					fresh = s.elsewhere.signIn(s.elsewhere.app, u)
				}
			})
			if again {
				s.signedIn(t, u, fresh)
			} else {
				s.signedOut(t, u, before)
			}
			if t.Failed() {
				t.Fatalf("with the sign-out at %q, sign-in after it: %v", at, again)
			}
		}
	}
}

// befores leaves out the ends of steps: until the next one begins an instance only works in its memory.
func befores(steps []string) []string {
	return slices.DeleteFunc(steps, func(s string) bool { return !strings.HasSuffix(s, "before") })
}

// Both stop: a refresh here at each of its steps, the sign-out there at each of its own, and then the refresh ends first.
func TestSignOutInStepsAtEachStepOfARefresh(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	refresh := func(u entratest.User) func() {
		return func() { _, _ = silent(ctx, s.here.app, u.HomeAccountID(), mailScope) }
	}
	out := func(u entratest.User) func() {
		return func() { succeeds(t, s.there.tokens.RemoveAccount(ctx, u.HomeAccountID())) }
	}
	theirs := befores(s.there.stepsOf(t, func() func() { return out(s.user()) }))
	for _, at := range befores(s.here.stepsOf(t, func() func() { return refresh(s.user()) })) {
		for _, behind := range theirs {
			before := s.keysOf()
			u := s.user()
			s.there.steps.watch(behind)
			done := make(chan struct{})
			s.here.during(t, at, refresh(u), func() {
				go func() { defer close(done); out(u)() }()
				within(t, "the sign-out at "+behind, s.there.steps.there)
			})
			s.there.steps.end()
			within(t, "the sign-out", done)
			s.signedOut(t, u, before)
			if t.Failed() {
				t.Fatalf("with the refresh at %q and the sign-out at %q", at, behind)
			}
		}
	}
}

// A sign-out that Redis refuses at first, there, while a refresh runs here: it is done in the end, whether the refresh ends before
// that or after it.
func TestPendingSignOutAtEachStepOfARefresh(t *testing.T) {
	for _, first := range []string{"the sign-out", "the refresh"} {
		t.Run(first+" ends first", func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			refuse := &refusing{chosen: isSignOut}
			s := newStage(t, refuse)
			refresh := func(u entratest.User) func() {
				return func() { _, _ = silent(ctx, s.here.app, u.HomeAccountID(), mailScope) }
			}
			for _, at := range s.here.stepsOf(t, func() func() { return refresh(s.user()) }) {
				if !slices.Contains([]string{"lease 1 before", "request 1 before", "store 1 before", "Export 1 before"}, at) {
					continue
				}
				before := s.keysOf()
				u := s.user()
				s.there.steps.watch("zrem 1 after") // a sign-out's last step before it is told
				finish := func() {
					refuse.on.Store(false)
					within(t, "the sign-out", s.there.steps.there)
					s.there.steps.end()
				}
				s.here.during(t, at, refresh(u), func() {
					refuse.on.Store(true)
					if err := s.there.tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
						t.Error("a sign-out that Redis refused succeeded")
					}
					if first == "the sign-out" {
						finish()
					}
				})
				if first == "the refresh" {
					finish()
				}
				s.signedOut(t, u, before)
				if t.Failed() {
					t.Fatalf("with the sign-out at %q", at)
				}
			}
		})
	}
}

// An on-behalf-of request of a user here, the user's sign-out there at each of its steps: its answer is nobody's afterwards.
func TestSignOutAtEachStepOfAnOnBehalfOfRequest(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	assertions := map[string]string{}
	obo := func(i *staged, u entratest.User) (confidential.AuthResult, error) {
		if assertions[u.Username] == "" {
			assertion, err := s.entra.UserToken(clientID, u.Username, "")
			if err != nil {
				t.Fatal(err)
			}
			assertions[u.Username] = assertion
		}
		return i.app.AcquireTokenOnBehalfOf(ctx, assertions[u.Username], []string{mailScope})
	}
	points := s.here.stepsOf(t, func() func() {
		u := s.user()
		return func() { must(t)(obo(s.here, u)) }
	})
	for _, at := range befores(slices.Clone(points)) {
		before := s.keysOf()
		u := s.user()
		var raced string
		s.here.during(t, at, func() { raced = must(t)(obo(s.here, u)) }, func() {
			succeeds(t, s.there.tokens.RemoveAccount(ctx, u.HomeAccountID()))
		})
		asked := asked(points, at)
		if left := s.sinceThen(before); asked && len(left) > 0 {
			t.Errorf("left of the user: %q", left)
		}
		for name, i := range map[string]*staged{"there": s.there, "elsewhere": s.elsewhere} {
			if got := must(t)(obo(i, u)); asked && got == raced {
				t.Errorf("%s got the token of a request that began before the sign-out", name)
			}
		}
		if asked { // MSAL has it in its memory
			eventually(t, "here asks anew", func() bool { return must(t)(obo(s.here, u)) != raced })
		}
		if t.Failed() {
			t.Fatalf("with the sign-out at %q", at)
		}
	}
}

// Whose an on-behalf-of request is shows in its answer only: a call that begins after a sign-out waits for none of before.
func TestCallAfterASignOutJoinsNoOnBehalfOfRequestOfBefore(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	u := s.user()
	assertion, err := s.entra.UserToken(clientID, u.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	obo := func() string {
		return must(t)(s.here.app.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope}))
	}
	looks := func() int {
		s.here.steps.mu.Lock()
		defer s.here.steps.mu.Unlock()
		return s.here.steps.count["look for answer"+"before"]
	}
	var raced, next string
	done := make(chan struct{})
	s.here.during(t, "request 1 after", func() { raced = obo() }, func() {
		succeeds(t, s.here.tokens.RemoveAccount(ctx, u.HomeAccountID()))
		before := looks()
		go func() { defer close(done); next = obo() }()
		eventually(t, "a call after the sign-out looks for itself", func() bool { return looks() > before })
	})
	within(t, "the call after the sign-out", done)
	if raced == next {
		t.Error("a call after the sign-out got the token of a request that began before it")
	}
}

// asked tells whether at a step the request to Entra ID is on its way, or over.
func asked(points []string, at string) bool {
	return slices.Index(points, at) >= slices.Index(points, "request 1 before")
}

// An app's token request here, ForgetAppTokens there at each of its steps: a token that was asked for before is nobody's
// afterwards.
func TestForgetAppTokensAtEachStepOfARequest(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	n := 0
	var apps map[*staged]confidential.Client
	next := func() {
		n++
		apps = map[*staged]confidential.Client{}
		for _, i := range []*staged{s.here, s.there, s.elsewhere} {
			apps[i] = newApp(t, s.entra.Authority(tenantName(n)), stopping{i.tokens, i.steps}, i.http)
			must(t)(apps[i].AcquireTokenByCredential(ctx, []string{dynamics})) // so that each knows the partition
		}
	}
	get := func(i *staged) string {
		return must(t)(apps[i].AcquireTokenByCredential(ctx, []string{graph}))
	}
	points := s.here.stepsOf(t, func() func() { next(); return func() { get(s.here) } })
	for _, at := range befores(slices.Clone(points)) {
		for _, where := range []*staged{s.here, s.there} {
			next()
			var raced string
			s.here.during(t, at, func() { raced = get(s.here) }, func() {
				succeeds(t, where.tokens.ForgetAppTokens(ctx, clientID, tenantName(n)))
			})
			if !asked(points, at) {
				continue
			}
			for name, i := range map[string]*staged{"there": s.there, "elsewhere": s.elsewhere} {
				if get(i) == raced {
					t.Errorf("%s got the token of a request that began before it was forgotten", name)
				}
			}
			eventually(t, "here asks anew", func() bool { return get(s.here) != raced })
			if t.Failed() {
				t.Fatalf("forgotten at %q, here: %v", at, where == s.here)
			}
		}
	}
}

// A token that is due serves while a new one is fetched, and MSAL stores it once more. After a sign-out it is one of before: where
// the user signed in, and where the token came from Redis.
func TestSignOutBeforeADueTokenIsStoredAgain(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprintf("known from Redis: %v", elsewhere), func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
			before := s.keysOf()
			u := s.user()
			serves := s.here
			if elsewhere {
				serves = s.there
			}
			waitUntil(time.Now().Add(1100 * time.Millisecond))
			asked, free := make(chan struct{}), make(chan struct{})
			remove := s.entra.OnTokenRequest(func(entratest.Request) { close(asked); <-free })
			serves.during(t, "Export 1 before", func() { _, _ = silent(context.Background(), serves.app, u.HomeAccountID()) }, func() {
				<-asked
				remove()
				// The instance itself, which so knows of the sign-out when MSAL stores.
				succeeds(t, serves.tokens.RemoveAccount(context.Background(), u.HomeAccountID()))
			})
			close(free)
			eventually(t, "the refresh ends", func() bool {
				return !slices.ContainsFunc(s.sinceThen(before), func(key string) bool { return strings.HasSuffix(key, ":lock") })
			})
			s.signedOut(t, u, before)
		})
	}
}

// A first look has its answer from before a sign-out, and that is heard while the answer is on its way: nobody is served from it.
func TestFirstLookThatASignOutOvertakesServesNobody(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	other := s.addUsers(1)[0]
	assertion := s.assertion(t, other)
	beside := s.elsewhere.instance.app() // MSAL lets nobody else into the client that waits
	obo := func() string {
		return must(t)(beside.AcquireTokenOnBehalfOf(ctx, assertion, []string{mailScope}))
	}
	obo()
	eventually(t, "it listens", func() bool {
		n, err := s.redis.subscribers(ctx, s.prefix+"*")
		return err == nil && n > 0
	})
	u := s.user()
	s.elsewhere.during(t, "look 1 after", func() { _, _ = silent(ctx, s.elsewhere.app, u.HomeAccountID()) }, func() {
		before := obo()
		succeeds(t, s.there.tokens.RemoveAccount(ctx, u.HomeAccountID()))
		succeeds(t, s.there.tokens.RemoveAccount(ctx, other.HomeAccountID()))
		eventually(t, "both are heard", func() bool { return obo() != before })
	})
	if _, err := silent(ctx, s.elsewhere.app, u.HomeAccountID()); err == nil {
		t.Error("a user who had signed out got a token")
	}
}
