package msalredis_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// The tests of this package are the library's promises, end to end: real MSAL clients, a real Redis and an Entra ID
// emulator. An instance is one Cache with its own Redis client, as a process has it; where a test says
// processes, instances live in processes of their own (worker_test.go).

const (
	clientID     = "11111111-aaaa-4bbb-8ccc-000000000001"
	clientSecret = "the-client's-secret-that-is-nowhere-else"
	publicID     = "22222222-aaaa-4bbb-8ccc-000000000002"
	tenant       = entratest.DefaultTenant
	redirectURI  = "http://localhost:5000/signin"
	graph        = "https://graph.microsoft.com/.default"
	userScope    = "https://graph.microsoft.com/User.Read"
	mailScope    = "https://graph.microsoft.com/Mail.Read"
	// Of resources of their own: a token of a resource is for all of its scopes that the user has consented to.
	vaultScope = "https://vault.azure.net/user_impersonation"
	crmScope   = "https://org.crm4.dynamics.com/user_impersonation"
)

// What varies in Entra ID's answers varies in the tests' too, where they do not say a lifetime themselves.
var (
	lifetimeSeed    = flag.Uint64("entra.lifetimes", 1, "seed of the tokens' lifetimes, entratest.Behavior.VaryLifetimes; 0: one hour each")
	plainThrottling = flag.Bool("entra.plain429", false, "entratest.Behavior.PlainThrottling")
)

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workerMain())
	}
	goleak.VerifyTestMain(checked{m})
}

// checked ends a run with the canary's look at everything that was logged.
type checked struct{ *testing.M }

func (c checked) Run() int {
	code := c.M.Run()
	endShared()
	if code == 0 {
		code = canary.verdict()
	}
	return code
}

// world is a Redis, an Entra ID and what their clients share.
type world struct {
	t      *testing.T
	redis  *deployment
	entra  *entratest.Server
	prefix string
	keys   string // sealing keys, as text
}

// newWorld has a Redis of the chosen topology, which other tests may use too.
func newWorld(t *testing.T) *world {
	t.Helper()
	return worldOn(t, begin(t, false))
}

// breakable is a world whose Redis is its own: the test kills it, or makes it hang, refuse writes or forget.
func breakable(t *testing.T, opts ...redistest.Option) *world {
	t.Helper()
	return worldOn(t, begin(t, true, opts...))
}

// worldOn is a world on a Redis that is there already; nil: one that the world's helpers do not know.
func worldOn(t *testing.T, d *deployment) *world {
	t.Helper()
	w := &world{t: t, redis: d, prefix: redistest.Prefix(t)}
	if d != nil && d.prefix != "" {
		w.prefix = d.prefix + ":" + w.prefix
	}
	entra, err := entratest.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.entra = entra
	entra.SetBehavior(func(b *entratest.Behavior) {
		b.VaryLifetimes = *lifetimeSeed
		b.PlainThrottling = *plainThrottling
	})
	t.Cleanup(func() {
		canary.issued(entra.Secrets())
		entra.Close()
		if w.redis != nil {
			w.forbidRecords()
		}
	})
	entra.OnTokenRequest(canary.named)
	entra.AddApp(entratest.App{ClientID: clientID, Secret: clientSecret})
	entra.AddApp(entratest.App{ClientID: publicID, Public: true})
	key, err := serializer.GenerateKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	w.keys = key.Export()
	canary.forbid("sealing key", strings.TrimPrefix(w.keys, "k1:"))
	return w
}

func (w *world) addUsers(n int) []entratest.User {
	var users []entratest.User
	for i := range n {
		u := entratest.User{ObjectID: fmt.Sprintf("%08d-0000-4000-8000-00000000000a", i), TenantID: tenant, Username: fmt.Sprintf("user%d@contoso.com", i), Name: "A User"}
		w.entra.AddUser(u)
		users = append(users, u)
		canary.user(u)
	}
	return users
}

// instance is one Cache and the HTTP client of its gate, as one process has them, with its metrics and spans.
type instance struct {
	w      *world
	rdb    redis.UniversalClient
	seen   *observed
	tokens *msalredis.Cache
	http   *http.Client
}

// options are what the tests use unless they say otherwise: the defaults, a log that the canary reads, and a generous
// OpTimeout, because what they count must not depend on a machine that starves the process for 250 ms.
func options(prefix string) *msalredis.Options {
	return &msalredis.Options{Prefix: prefix, OpTimeout: 10 * time.Second, Logger: canary.logger()}
}

func (w *world) instance(change ...func(*msalredis.Options)) *instance {
	w.t.Helper()
	o := options(w.prefix)
	for _, f := range change {
		f(o)
	}
	return w.instanceOn(w.client(), w.sealer(w.keys), o)
}

func (w *world) sealer(keys string) serializer.Serializer {
	w.t.Helper()
	return newSealer(w.t, keys)
}

func newSealer(t testing.TB, text string) serializer.Serializer {
	t.Helper()
	keys, err := serializer.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := serializer.NewEncrypted(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) instanceOn(rdb redis.UniversalClient, s serializer.Serializer, o *msalredis.Options) *instance {
	w.t.Helper()
	seen := newObserved()
	watched := *o
	if watched.MeterProvider == nil {
		watched.MeterProvider, watched.TracerProvider = seen.meters, seen.traces
	}
	tokens, err := msalredis.New(rdb, s, &watched)
	if err != nil {
		w.t.Fatal(err)
	}
	base := w.entra.Transport()
	i := &instance{w: w, rdb: rdb, seen: seen, tokens: tokens, http: &http.Client{Transport: tokens.Transport(base)}}
	w.t.Cleanup(func() {
		i.close()
		base.CloseIdleConnections()
	})
	return i
}

func (i *instance) close() {
	if err := canary.collect(i.seen.reader); err != nil { // before Close: hits are counted while the Cache lives
		i.w.t.Errorf("metrics: %v", err)
	}
	if err := i.tokens.Close(); err != nil {
		i.w.t.Errorf("Close: %v", err)
	}
}

// app is a confidential client of the instance.
func (i *instance) app(opts ...confidential.Option) confidential.Client {
	i.w.t.Helper()
	return newApp(i.w.t, i.w.entra.Authority(tenant), i.tokens, i.http, opts...)
}

func newApp(t testing.TB, authority string, tokens cache.ExportReplace, client *http.Client, opts ...confidential.Option) confidential.Client {
	t.Helper()
	app, err := makeApp(authority, tokens, client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func makeApp(authority string, tokens cache.ExportReplace, client *http.Client, opts ...confidential.Option) (confidential.Client, error) {
	cred, err := confidential.NewCredFromSecret(clientSecret)
	if err != nil {
		return confidential.Client{}, err
	}
	opts = append([]confidential.Option{confidential.WithHTTPClient(client)}, opts...)
	if tokens != nil {
		opts = append(opts, confidential.WithCache(tokens))
	}
	return confidential.New(authority, clientID, cred, opts...)
}

// public is a public client of the instance.
func (i *instance) public() public.Client {
	i.w.t.Helper()
	c, err := public.New(publicID, public.WithAuthority(i.w.entra.Authority(tenant)), public.WithCache(i.tokens), public.WithHTTPClient(i.http))
	if err != nil {
		i.w.t.Fatal(err)
	}
	return c
}

// signIn signs a user in at a confidential client with an authorization code.
func (i *instance) signIn(app confidential.Client, u entratest.User, scopes ...string) confidential.AuthResult {
	i.w.t.Helper()
	ctx := context.Background()
	if len(scopes) == 0 {
		scopes = []string{userScope}
	}
	link, err := app.AuthCodeURL(ctx, clientID, redirectURI, scopes)
	if err != nil {
		i.w.t.Fatal(err)
	}
	code, err := i.w.entra.AuthorizeCode(link, u.Username)
	if err != nil {
		i.w.t.Fatal(err)
	}
	result, err := app.AcquireTokenByAuthCode(ctx, code, redirectURI, scopes)
	if err != nil {
		i.w.t.Fatalf("sign-in: %v", err)
	}
	return result
}

// silent acquires a user's token as a web app does: Account, then AcquireTokenSilent.
func silent(ctx context.Context, app confidential.Client, homeAccountID string, scopes ...string) (r confidential.AuthResult, err error) {
	defer func() { canary.sawError(err) }()
	if len(scopes) == 0 {
		scopes = []string{userScope}
	}
	account, err := app.Account(ctx, homeAccountID)
	if err != nil {
		return confidential.AuthResult{}, err
	}
	return app.AcquireTokenSilent(ctx, scopes, confidential.WithSilentAccount(account))
}

func (w *world) count(t *testing.T, want int, what string, match ...func(entratest.Request) bool) {
	t.Helper()
	if got := w.entra.Count(match...); got != want {
		t.Errorf("%s: %d token requests, want %d: %s", what, got, want, summary(w.entra.Requests()))
	}
}

func summary(requests []entratest.Request) string {
	var b strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&b, "\n  #%d %s %s tenant %.8s user %.8s gen %d -> %d %s [%s +%v]", r.ID, r.Grant, r.Scope, r.Tenant, r.User, r.RefreshTokenGeneration, r.Status, r.Error, r.Arrived.Format("05.000"), r.Answered.Sub(r.Arrived).Round(time.Millisecond))
	}
	return b.String()
}

// keysOf are the keys in Redis under the world's prefix, with the administrator's rights that the library does not
// need.
func (w *world) keysOf() []string {
	w.t.Helper()
	keys, err := w.redis.keys(context.Background(), w.prefix+":*")
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

// listening waits until n instances hear of each other.
func (w *world) listening(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d instances that listen", n), func() bool {
		sum, err := w.redis.subscribers(context.Background(), w.prefix+":v1:changes")
		return err == nil && sum == n
	})
}

// forbidRecords tells the canary what stands in Redis at the end of a test, if it still answers.
func (w *world) forbidRecords() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	keys, _ := w.redis.keys(ctx, w.prefix+":*")
	canary.records(w.redis.admin, keys)
}

// parallel runs f n times at once and returns the errors.
func parallel(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	var out []error
	for _, err := range errs {
		if err != nil {
			canary.sawError(err)
			out = append(out, err)
		}
	}
	return out
}

// eventually waits for a condition that other goroutines or processes bring about, within a generous bound.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		<-tick.C
	}
}

// waitUntil lets the wall clock, which MSAL reads, pass a moment: the end of a token's usable life.
func waitUntil(at time.Time) { <-time.After(time.Until(at)) }

// lasting makes the emulator's tokens usable by MSAL for d: it refuses their last five minutes.
func (w *world) lasting(d time.Duration) {
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 5*time.Minute + d })
}

func hashOf(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:8])
}

// selfSigned makes a certificate for client assertions.
func selfSigned(t testing.TB) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// process is a worker in a process of its own.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// processes starts n workers on the world. They are ended with the test.
func (w *world) processes(n int, change ...func(*workerConfig)) []*process {
	w.t.Helper()
	var all []*process
	for range n {
		cfg := workerConfig{Redis: w.redis.address, Prefix: w.prefix, Keys: w.keys, Entra: w.entra.Host(), CA: string(w.entra.CAPEM())}
		for _, f := range change {
			f(&cfg)
		}
		all = append(all, startProcess(w.t, os.Args[0], cfg))
	}
	for _, p := range all {
		p.hello()
	}
	return all
}

func startProcess(t *testing.T, binary string, cfg workerConfig, env ...string) *process {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(binary)}
	p.cmd.Env = append(append(os.Environ(), workerEnv+"=1"), env...)
	p.cmd.Stderr = canary // what a worker logs, the canary reads
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReaderSize(out, 1<<20)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	if _, err := fmt.Fprintf(p.in, "%s\n", base64.StdEncoding.EncodeToString(text)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) hello() {
	p.t.Helper()
	if line, err := p.out.ReadString('\n'); err != nil || line != "ready\n" {
		p.t.Fatalf("a worker did not start: %q %v", line, err)
	}
}

// send gives a worker its order without waiting for the answer.
func (p *process) send(o order) {
	p.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.in, "%s\n", text); err != nil {
		p.t.Errorf("worker: %v", err)
	}
}

// receive waits for the answer to an order.
func (p *process) receive() outcome {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	var o outcome
	if err == nil {
		err = json.Unmarshal([]byte(line), &o)
	}
	if err != nil {
		return outcome{Errors: []string{"worker: " + err.Error()}}
	}
	for _, e := range o.Errors {
		canary.sawErrorText(e)
	}
	return o
}

func (p *process) do(o order) outcome {
	p.t.Helper()
	p.send(o)
	return p.receive()
}

// all gives the same order to every worker at once.
func all(ps []*process, o order) []outcome {
	for _, p := range ps {
		p.send(o)
	}
	var outcomes []outcome
	for _, p := range ps {
		outcomes = append(outcomes, p.receive())
	}
	return outcomes
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) end() {
	p.in.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, p.out)
		_ = p.cmd.Wait()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		p.t.Error("a worker did not end: Close hangs?")
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// same checks that no outcome has an error and that all have one token.
func same(t *testing.T, outcomes []outcome) {
	t.Helper()
	tokens := map[string]bool{}
	for _, o := range outcomes {
		for _, e := range o.Errors {
			t.Errorf("worker: %s", e)
		}
		for _, token := range o.Tokens {
			tokens[token] = true
		}
	}
	if len(tokens) != 1 {
		t.Errorf("%d different tokens, want one", len(tokens))
	}
}
