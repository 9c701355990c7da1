package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/subprocess"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

func TestMain(m *testing.M) {
	if subprocess.Role() == memberRole {
		os.Exit(subprocess.Serve(newMember))
	}
	harness.Main(m)
}

// A member is one process of a real fleet: this test binary once more, with a Cache and a client for each tenant.

const memberRole = "member"

// place is where a member finds what it needs, and what it does.
type place struct {
	Redis, Prefix, Keys, Entra, CA string
	Fleet                          Fleet
}

// order: warm, each tenant's endpoints are fetched; use, the tokens of all tenants, from Begin until End; forget, the
// first tenant's tokens; tell, what was sent.
type order struct {
	Op         string
	Phase      time.Duration
	Begin, End time.Time
}

// outcome: Sent are the commands in each second from Begin on, and in the last what was sent later.
type outcome struct {
	Errors []string
	Calls  int
	Sent   []counts
}

type member = subprocess.Child[order, outcome]

type hand struct {
	place
	tokens *msalredis.Cache
	apps   []confidential.Client
	sent   *meter
}

func newMember(p *subprocess.Parent[order, outcome], at place) (work func(), err error) {
	keys, err := serializer.ParseKeys(at.Keys)
	if err != nil {
		return nil, err
	}
	sealer, err := serializer.NewEncrypted(keys...)
	if err != nil {
		return nil, err
	}
	rdb := redis.NewClient(&redis.Options{Addr: at.Redis, PoolSize: at.Fleet.PoolSize})
	h := &hand{place: at, sent: &meter{}}
	rdb.AddHook(h.sent)
	h.tokens, err = msalredis.New(harness.Hooked{UniversalClient: rdb}, sealer, &msalredis.Options{
		Prefix: at.Prefix, LocalTTL: at.Fleet.LocalTTL, LockTTL: at.Fleet.LockTTL, OpTimeout: at.Fleet.OpTimeout,
		RefreshAt: at.Fleet.RefreshAt, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return nil, err
	}
	base, err := entratest.Transport(at.Entra, []byte(at.CA))
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: h.tokens.Transport(base)}
	for n := range at.Fleet.Apps {
		app, err := harness.MakeApp("https://login.microsoftonline.com/"+harness.TenantName(n), h.tokens, client)
		if err != nil {
			return nil, err
		}
		h.apps = append(h.apps, app)
	}
	return func() {
		p.Answer(h.do)
		_ = h.tokens.Close()
		base.CloseIdleConnections()
		_ = rdb.Close()
	}, nil
}

func (h *hand) do(o order) (out outcome) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			out.Errors = append(out.Errors, err.Error())
		}
	}
	switch o.Op {
	case "warm":
		for _, app := range h.apps {
			_, err := app.AuthCodeURL(ctx, harness.ClientID, harness.RedirectURI, []string{harness.UserScope})
			fail(err)
		}
	case "use":
		h.sent.start(o.Begin, int(o.End.Sub(o.Begin)/time.Second))
		go h.use(ctx, o)
	case "forget":
		fail(h.tokens.ForgetAppTokens(ctx, harness.ClientID, harness.TenantName(0)))
	case "tell":
		out.Sent, out.Calls, out.Errors = h.sent.tell()
	default:
		fail(fmt.Errorf("there is no order %q", o.Op))
	}
	return out
}

// use takes all tenants' tokens, each at its own times. Who waits for one misses the calls that come due meanwhile, and
// keeps no other tenant waiting.
func (h *hand) use(ctx context.Context, o order) {
	var wg sync.WaitGroup
	for n, app := range h.apps {
		shift := h.Fleet.Every * time.Duration(n) / time.Duration(len(h.apps))
		wg.Go(func() {
			due := o.Begin.Add(o.Phase + shift)
			for due.Before(o.End) {
				harness.WaitUntil(due)
				_, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
				h.sent.called(err)
				for !due.After(time.Now()) {
					due = due.Add(h.Fleet.Every)
				}
			}
		})
	}
	wg.Wait()
}

// meter counts what is sent in each second.
type meter struct {
	mu     sync.Mutex
	begin  time.Time
	sent   []counts
	calls  int
	errors []string
}

func (m *meter) start(begin time.Time, seconds int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin, m.sent = begin, make([]counts, seconds+1)
}

func (m *meter) tell() ([]counts, int, []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent, m.calls, m.errors
}

func (m *meter) called(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls++; err != nil {
		m.errors = append(m.errors, err.Error())
	}
}

func (m *meter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (m *meter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (m *meter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		at := time.Now()
		err := next(ctx, cmd)
		c, ok := commandOf(cmd)
		if redis.HasErrorPrefix(err, "NOSCRIPT") || !ok {
			return err // it is sent again
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.sent) > 0 {
			m.sent[max(0, min(int(at.Sub(m.begin)/time.Second), len(m.sent)-1))][c]++
		}
		return err
	}
}

var steps = map[string]command{
	"look": load, "store": store, "look for answer": look, "keep answer": keep, "list answer": enlist, "lease": lease,
	"release": release, "sign out": remove, "forget answer": forget, "zrem": unlist, "publish": publish,
}

// commandOf is which command of the table one is.
func commandOf(cmd redis.Cmder) (command, bool) {
	if harness.HasKeys(cmd, ":log") && len(cmd.Args()) == 8 {
		if fmt.Sprint(cmd.Args()[5]) == fmt.Sprint(layout.ChangeLogLength) {
			return heed, true
		}
		return announce, true
	}
	c, ok := steps[harness.StepOf(cmd)]
	return c, ok
}
