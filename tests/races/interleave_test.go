package races_test

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
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// A sign-out wins over a refresh that races it, and a sign-in after it is kept. The tests of this file force every
// order of their steps: they stop one instance at each command it gives Redis, each request it sends, and each call
// that MSAL makes of its accessor, before and after, and let another do its whole work there. Everything is stopped
// from outside: by a hook of the Redis client, by the HTTP transport, and around the accessor.

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

// seenYet tells whether a step has been passed since watching began.
func (s *steps) seenYet(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.seen, name)
}

func (s *steps) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s *steps) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (s *steps) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		what := harness.StepOf(cmd)
		s.pass(what, "before")
		err := next(ctx, cmd)
		s.pass(what, "after")
		return err
	}
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
	*harness.Instance
	steps *steps
	app   confidential.Client
}

func newStaged(w *harness.World, d *descent, hooks ...redis.Hook) *staged {
	w.T.Helper()
	s := &steps{}
	rdb := w.Client()
	for _, h := range hooks {
		rdb.AddHook(h)
	}
	rdb.AddHook(s)
	i := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), harness.Options(w.Prefix))
	base := w.Entra.Transport()
	w.T.Cleanup(base.CloseIdleConnections)
	i.HTTP = &http.Client{Transport: i.Tokens.Transport(line{base, s, d})}
	st := &staged{Instance: i, steps: s}
	st.renew()
	return st
}

// renew gives the instance a new MSAL client, whose memory holds nothing of earlier users.
func (i *staged) renew() {
	i.World.T.Helper()
	i.app = harness.NewApp(i.World.T, i.World.Entra.Authority(harness.Tenant), stopping{i.Tokens, i.steps}, i.HTTP)
}

// stage is a fleet of three: here something is under way, there it is undone, and elsewhere somebody begins anew.
type stage struct {
	*harness.World
	descent                *descent
	here, there, elsewhere *staged
	users                  int
}

func newStage(t *testing.T, hooks ...redis.Hook) *stage {
	w := harness.NewWorld(t)
	d := newDescent()
	s := &stage{World: w, descent: d, here: newStaged(w, d), there: newStaged(w, d, hooks...), elsewhere: newStaged(w, d)}
	return s
}

// user is a new one, who has signed in here and is known there.
func (s *stage) user() entratest.User {
	s.T.Helper()
	u := entratest.User{ObjectID: fmt.Sprintf("%08d-0000-4000-8000-00000000000b",
		s.users), TenantID: harness.Tenant, Username: fmt.Sprintf("staged%d@contoso.com", s.users), Name: "A User"}
	s.users++
	s.Entra.AddUser(u)
	harness.Canary.User(u)
	for _, i := range []*staged{s.here, s.there, s.elsewhere} {
		i.renew()
	}
	s.here.SignIn(s.here.app, u)
	harness.Must(s.T)(harness.Silent(context.Background(), s.there.app, u.HomeAccountID()))
	return u
}

// during runs act on an instance, which is stopped at a step while f runs.
func (i *staged) during(t *testing.T, at string, act func(), f func()) {
	t.Helper()
	i.World.Settled()
	i.steps.watch(at)
	defer i.steps.end()
	done := make(chan struct{})
	go func() { defer close(done); act() }()
	select {
	case <-i.steps.there:
	case <-done: // what is done behind its caller comes yet
		harness.Within(t, "it comes to "+at, i.steps.there)
	}
	f()
	i.steps.end()
	harness.Within(t, "what was stopped ends", done)
}

// stepsOf are the steps of what act returns, which nothing disturbs: those that it takes each time, for on a busy
// machine another look may come. The first time loads the scripts.
func (i *staged) stepsOf(t *testing.T, act func() func()) (seen []string) {
	t.Helper()
	act()()
	for n := range 3 {
		f := act()
		i.World.Settled()
		i.steps.watch("")
		f()
		harness.Eventually(t, "a lease given back", func() bool {
			return !i.steps.seenYet("lease 1 after") || i.steps.seenYet("release 1 after")
		})
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

// sinceThen are the keys that were not there before, but for those that say nothing of a user: a tombstone. A lease is
// given back behind its callers.
func (s *stage) sinceThen(t *testing.T, before []string) (left []string) {
	t.Helper()
	harness.Eventually(t, "the leases given back", func() bool {
		left = nil
		for _, k := range s.KeysOf() {
			if !slices.Contains(before, k) && !strings.HasSuffix(k, ":tombstone") {
				left = append(left, k[strings.LastIndex(k, "}"):])
			}
		}
		return !slices.Contains(left, "}:lock")
	})
	return left
}

// signedOut checks that nothing of a user is left: in Redis, on any instance, for any of the scopes.
func (s *stage) signedOut(t *testing.T, u entratest.User, before []string) {
	t.Helper()
	ctx := context.Background()
	if left := s.sinceThen(t, before); len(left) > 0 {
		t.Errorf("left of the user: %q", left)
	}
	for name, app := range map[string]confidential.Client{
		"here": s.here.app, "there": s.there.app, "elsewhere": s.elsewhere.app,
	} {
		for _, scope := range []string{harness.UserScope, harness.MailScope} {
			harness.Eventually(t, name+" signs out", func() bool {
				_, err := harness.Silent(ctx, app, u.HomeAccountID(), scope)
				return err != nil
			})
		}
	}
	if left := s.sinceThen(t, before); len(left) > 0 {
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
		for _, r := range s.Records() {
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
	for name, app := range map[string]confidential.Client{
		"here": s.here.app, "there": s.there.app, "elsewhere": s.elsewhere.app,
	} {
		for _, scope := range []string{harness.UserScope, harness.MailScope} {
			harness.Eventually(t, name+" has the sign-in", func() bool {
				got, err := harness.Silent(ctx, app, u.HomeAccountID(), scope)
				return err == nil && s.descent.root(got.AccessToken) == root
			})
		}
	}
	check("after asking")
}

// A user's refresh here, a sign-out there at each of its steps: nothing comes back, and a sign-in elsewhere right after
// the sign-out is kept.
func TestSignOutAtEachStepOfARefresh(t *testing.T) {
	for _, tt := range []struct {
		name string
		out  func(*stage, entratest.User) error
	}{
		{"Cache.RemoveAccount", func(s *stage, u entratest.User) error {
			return s.there.Tokens.RemoveAccount(context.Background(), u.HomeAccountID())
		}},
		{"MSAL's RemoveAccount", func(s *stage, u entratest.User) error {
			account, err := s.there.app.Account(context.Background(), u.HomeAccountID())
			if err != nil {
				return err
			}
			return s.there.app.RemoveAccount(context.Background(), account)
		}},
		{"here", func(s *stage, u entratest.User) error {
			return s.here.Tokens.RemoveAccount(context.Background(), u.HomeAccountID())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.eachStep(t, func(u entratest.User) { harness.Succeeds(t, tt.out(s, u)) })
		})
	}
}

// eachStep runs a user's refresh here with out, which signs out, at each of its steps; and then once more with a
// sign-in elsewhere after it.
func (s *stage) eachStep(t *testing.T, out func(entratest.User)) {
	refresh := func(u entratest.User) func() {
		return func() { _, _ = harness.Silent(context.Background(), s.here.app, u.HomeAccountID(), harness.MailScope) }
	}
	for _, at := range befores(s.here.stepsOf(t, func() func() { return refresh(s.user()) })) {
		for _, again := range []bool{false, true} {
			before := s.KeysOf()
			u := s.user()
			var fresh confidential.AuthResult
			s.here.during(t, at, refresh(u), func() {
				out(u)
				if again {
					fresh = s.elsewhere.SignIn(s.elsewhere.app, u)
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

// Both stop: a refresh here at each of its steps, the sign-out there at each of its own, and then the refresh ends
// first.
func TestSignOutInStepsAtEachStepOfARefresh(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	refresh := func(u entratest.User) func() {
		return func() { _, _ = harness.Silent(ctx, s.here.app, u.HomeAccountID(), harness.MailScope) }
	}
	out := func(u entratest.User) func() {
		return func() { harness.Succeeds(t, s.there.Tokens.RemoveAccount(ctx, u.HomeAccountID())) }
	}
	theirs := befores(s.there.stepsOf(t, func() func() { return out(s.user()) }))
	for _, at := range befores(s.here.stepsOf(t, func() func() { return refresh(s.user()) })) {
		for _, behind := range theirs {
			before := s.KeysOf()
			u := s.user()
			s.there.steps.watch(behind)
			done := make(chan struct{})
			s.here.during(t, at, refresh(u), func() {
				go func() { defer close(done); out(u)() }()
				harness.Within(t, "the sign-out at "+behind, s.there.steps.there)
			})
			s.there.steps.end()
			harness.Within(t, "the sign-out", done)
			s.signedOut(t, u, before)
			if t.Failed() {
				t.Fatalf("with the refresh at %q and the sign-out at %q", at, behind)
			}
		}
	}
}

// A sign-out that Redis refuses at first, there, while a refresh runs here: it is done in the end, whether the refresh
// ends before that or after it.
func TestPendingSignOutAtEachStepOfARefresh(t *testing.T) {
	for _, first := range []string{"the sign-out", "the refresh"} {
		t.Run(first+" ends first", func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			refuse := &harness.Refusing{Chosen: harness.IsSignOut}
			s := newStage(t, refuse)
			refresh := func(u entratest.User) func() {
				return func() { _, _ = harness.Silent(ctx, s.here.app, u.HomeAccountID(), harness.MailScope) }
			}
			for _, at := range s.here.stepsOf(t, func() func() { return refresh(s.user()) }) {
				if !slices.Contains([]string{"lease 1 before", "request 1 before", "store 1 before", "Export 1 before"}, at) {
					continue
				}
				before := s.KeysOf()
				u := s.user()
				s.there.steps.watch("zrem 1 after") // a sign-out's last step before it is told
				finish := func() {
					refuse.On.Store(false)
					harness.Within(t, "the sign-out", s.there.steps.there)
					s.there.steps.end()
				}
				s.here.during(t, at, refresh(u), func() {
					refuse.On.Store(true)
					if err := s.there.Tokens.RemoveAccount(ctx, u.HomeAccountID()); err == nil {
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

// An on-behalf-of request of a user here, the user's sign-out there at each of its steps: its answer is nobody's
// afterwards.
func TestSignOutAtEachStepOfAnOnBehalfOfRequest(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	assertions := map[string]string{}
	obo := func(i *staged, u entratest.User) (confidential.AuthResult, error) {
		if assertions[u.Username] == "" {
			assertion, err := s.Entra.UserToken(harness.ClientID, u.Username, "")
			if err != nil {
				t.Fatal(err)
			}
			assertions[u.Username] = assertion
		}
		return i.app.AcquireTokenOnBehalfOf(ctx, assertions[u.Username], []string{harness.MailScope})
	}
	points := s.here.stepsOf(t, func() func() {
		u := s.user()
		return func() { harness.Must(t)(obo(s.here, u)) }
	})
	for _, at := range befores(slices.Clone(points)) {
		before := s.KeysOf()
		u := s.user()
		var raced string
		s.here.during(t, at, func() { raced = harness.Must(t)(obo(s.here, u)) }, func() {
			harness.Succeeds(t, s.there.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
		})
		asked := asked(points, at)
		if left := s.sinceThen(t, before); asked && len(left) > 0 {
			t.Errorf("left of the user: %q", left)
		}
		for name, i := range map[string]*staged{"there": s.there, "elsewhere": s.elsewhere} {
			if got := harness.Must(t)(obo(i, u)); asked && got == raced {
				t.Errorf("%s got the token of a request that began before the sign-out", name)
			}
		}
		if asked { // MSAL has it in its memory
			harness.Eventually(t, "here asks anew", func() bool { return harness.Must(t)(obo(s.here, u)) != raced })
		}
		if t.Failed() {
			t.Fatalf("with the sign-out at %q", at)
		}
	}
}

// Whose an on-behalf-of request is shows in its answer only: a call that begins after a sign-out waits for none of
// before.
func TestCallAfterASignOutJoinsNoOnBehalfOfRequestOfBefore(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	u := s.user()
	assertion, err := s.Entra.UserToken(harness.ClientID, u.Username, "")
	if err != nil {
		t.Fatal(err)
	}
	obo := func() string {
		return harness.Must(t)(s.here.app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope}))
	}
	looks := func() int {
		s.here.steps.mu.Lock()
		defer s.here.steps.mu.Unlock()
		return s.here.steps.count["look for answer"+"before"]
	}
	var raced, next string
	done := make(chan struct{})
	s.here.during(t, "request 1 after", func() { raced = obo() }, func() {
		harness.Succeeds(t, s.here.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
		before := looks()
		go func() { defer close(done); next = obo() }()
		harness.Eventually(t, "a call after the sign-out looks for itself", func() bool { return looks() > before })
	})
	harness.Within(t, "the call after the sign-out", done)
	if raced == next {
		t.Error("a call after the sign-out got the token of a request that began before it")
	}
}

// asked tells whether at a step the request to Entra ID is on its way, or over.
func asked(points []string, at string) bool {
	return slices.Index(points, at) >= slices.Index(points, "request 1 before")
}

// An app's token request here, ForgetAppTokens there at each of its steps: a token that was asked for before is
// nobody's afterwards.
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
			apps[i] = harness.NewApp(t, s.Entra.Authority(harness.TenantName(n)), stopping{i.Tokens, i.steps}, i.HTTP)
			// so that each knows the partition
			harness.Must(t)(apps[i].AcquireTokenByCredential(ctx, []string{harness.DynamicsScope}))
		}
	}
	get := func(i *staged) string {
		return harness.Must(t)(apps[i].AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	}
	points := s.here.stepsOf(t, func() func() { next(); return func() { get(s.here) } })
	for _, at := range befores(slices.Clone(points)) {
		for _, where := range []*staged{s.here, s.there} {
			next()
			var raced string
			s.here.during(t, at, func() { raced = get(s.here) }, func() {
				harness.Succeeds(t, where.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.TenantName(n)))
			})
			if !asked(points, at) {
				continue
			}
			for name, i := range map[string]*staged{"there": s.there, "elsewhere": s.elsewhere} {
				if get(i) == raced {
					t.Errorf("%s got the token of a request that began before it was forgotten", name)
				}
			}
			harness.Eventually(t, "here asks anew", func() bool { return get(s.here) != raced })
			if t.Failed() {
				t.Fatalf("forgotten at %q, here: %v", at, where == s.here)
			}
		}
	}
}

// A token that is due serves while a new one is fetched, and MSAL stores it once more. After a sign-out it is one of
// before: where the user signed in, and where the token came from Redis.
func TestSignOutBeforeADueTokenIsStoredAgain(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprintf("known from Redis: %v", elsewhere), func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.Entra.SetBehavior(func(b *entratest.Behavior) { b.RefreshIn = time.Second })
			before := s.KeysOf()
			u := s.user()
			serves := s.here
			if elsewhere {
				serves = s.there
			}
			harness.WaitUntil(time.Now().Add(1100 * time.Millisecond))
			asked, free := make(chan struct{}), make(chan struct{})
			remove := s.Entra.OnTokenRequest(func(entratest.Request) { close(asked); <-free })
			serves.during(t, "Export 1 before", func() {
				_, _ = harness.Silent(context.Background(), serves.app, u.HomeAccountID())
			}, func() {
				<-asked
				remove()
				// The instance itself, which so knows of the sign-out when MSAL stores.
				harness.Succeeds(t, serves.Tokens.RemoveAccount(context.Background(), u.HomeAccountID()))
			})
			close(free)
			harness.Eventually(t, "the refresh ends", func() bool {
				return !slices.ContainsFunc(s.sinceThen(t, before), func(key string) bool {
					return strings.HasSuffix(key, ":lock")
				})
			})
			s.signedOut(t, u, before)
		})
	}
}

// A first look has its answer from before a sign-out, and that is heard while the answer is on its way: nobody is
// served from it.
func TestFirstLookThatASignOutOvertakesServesNobody(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx := context.Background()
	other := s.AddUsers(1)[0]
	assertion := s.Assertion(t, other)
	beside := s.elsewhere.Instance.App() // MSAL lets nobody else into the client that waits
	obo := func() string {
		return harness.Must(t)(beside.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.MailScope}))
	}
	obo()
	harness.Eventually(t, "it listens", func() bool {
		n, err := s.Redis.Subscribers(ctx, s.Prefix+"*")
		return err == nil && n > 0
	})
	u := s.user()
	s.elsewhere.during(t, "look 1 after", func() {
		_, _ = harness.Silent(ctx, s.elsewhere.app, u.HomeAccountID())
	}, func() {
		before := obo()
		harness.Succeeds(t, s.there.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
		harness.Succeeds(t, s.there.Tokens.RemoveAccount(ctx, other.HomeAccountID()))
		harness.Eventually(t, "both are heard", func() bool { return obo() != before })
	})
	if _, err := harness.Silent(ctx, s.elsewhere.app, u.HomeAccountID()); err == nil {
		t.Error("a user who had signed out got a token")
	}
}
