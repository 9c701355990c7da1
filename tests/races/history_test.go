package races_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// The histories of this file are recorded from instances that sign one user in and out and refresh their tokens, all at
// once, and checked for linearizability: whether every order of events that they leave open contradicts what is
// promised of a sign-out. Two histories come of each run: of what the application sees, and of the scripts that Redis
// ran for it.

var historyTime = flag.Duration("histories", 2*time.Second, "how long to record histories")

// seen is what the application does with an account, and sees of it in Redis.
type seen struct {
	what  string // sign-in, sign-out, read
	roots []int  // sign-in: which one; read: from which sign-ins the tokens in Redis come
}

// accounts is the promise: what Redis holds comes of sign-ins since the last sign-out, and of one if there was any.
// Refreshes are no part of it: none is ever seen.
var accounts = porcupine.Model{
	Init: func() any { return "" }, // the sign-ins since the last sign-out: ".1.4."
	Step: func(state, input, _ any) (bool, any) {
		s, in := state.(string), input.(seen)
		switch in.what {
		case "sign-in":
			return true, fmt.Sprintf("%s.%d.", s, in.roots[0])
		case "sign-out":
			return true, ""
		default:
			gone := slices.ContainsFunc(in.roots, func(root int) bool { return !strings.Contains(s, fmt.Sprintf(".%d.", root)) })
			return !gone && (s == "") == (len(in.roots) == 0), s
		}
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

// ran is a script that Redis ran on a user's partition, and what it answered.
type ran struct {
	what    string // store, sign out, look
	known   int64  // of store: the latest removal that the writer knew
	refused bool   // of store
	removed int64  // the latest removal, as Redis says
	token   token  // the refresh token that store brings; zero: none, or one that may have been too old
}

// token is what orders a refresh token among others.
type token struct{ session, stamp int64 }

func (t token) newer(than token) bool {
	return t.session > than.session || t.session == than.session && t.stamp > than.stamp
}

type partitionState struct {
	removed int64
	token   token
}

// partitions is what the scripts do: a sign-out never goes back before an earlier one, and ends the sessions of before
// it; a store whose writer does not know of the last one is refused; and of two refresh tokens the newer stays.
var partitions = porcupine.Model{
	Init: func() any { return partitionState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, in := state.(partitionState), input.(ran)
		switch in.what {
		case "sign out":
			after := partitionState{in.removed, s.token}
			if s.token.session < in.removed {
				after.token = token{}
			}
			return in.removed >= s.removed, after
		case "look":
			return in.removed == s.removed, s
		default:
			if refuse := s.removed > in.known; refuse || in.refused {
				return refuse == in.refused && in.removed == s.removed, s
			}
			ok := in.removed == s.removed && (in.token == token{} || in.token.newer(s.token) && in.token.session >= s.removed)
			if in.token.newer(s.token) {
				s.token = in.token
			}
			return ok, s
		}
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

// chronicle records both histories of a run.
type chronicle struct {
	mu      sync.Mutex
	start   time.Time
	key     string // of the user's partition
	rt      string // the field of the refresh token
	seen    []porcupine.Operation
	scripts []porcupine.Operation
}

func (c *chronicle) begin(key, rt string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start, c.key, c.rt, c.seen, c.scripts = time.Now(), key, rt, nil, nil
}

func (c *chronicle) now() int64 { return int64(time.Since(c.start)) }

func (c *chronicle) add(client int, call int64, in seen) {
	back := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, porcupine.Operation{ClientId: client, Input: in, Call: call, Return: back})
}

func (c *chronicle) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *chronicle) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// recorded is what is known so far: an instance goes on looking by itself when a history is over.
func (c *chronicle) recorded() (calls, scripts []porcupine.Operation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen), slices.Clone(c.scripts)
}

// ProcessHook notes the scripts.
func (c *chronicle) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		what, args := harness.StepOf(cmd), cmd.Args()
		c.mu.Lock()
		key, rt := c.key, c.rt
		c.mu.Unlock()
		if what != "store" && what != "sign out" && what != "look" || args[3] != key {
			return next(ctx, cmd)
		}
		call := c.now()
		err := next(ctx, cmd)
		back := c.now()
		reply, replyErr := cmd.(*redis.Cmd).Slice()
		if err != nil || replyErr != nil {
			return err
		}
		// number is what a number, or a tombstone, begins with.
		number := func(v any) int64 {
			text, _, _ := strings.Cut(fmt.Sprint(v), " ")
			n, _ := strconv.ParseInt(text, 10, 64)
			return n
		}
		r := ran{what: what, removed: number(reply[1])}
		if what == "store" {
			r.known, r.refused = number(args[5]), number(reply[2]) == -1
			for i := 7; i+1 < len(args) && number(reply[4]) == 1; i += 2 {
				if value := args[i+1].(string); args[i] == rt {
					r.token = token{session: layout.Session(value), stamp: number(value[:16])}
				}
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.scripts = append(c.scripts, porcupine.Operation{Input: r, Call: call, Return: back})
		return nil
	}
}

// legal checks a history.
func legal(t *testing.T, model porcupine.Model, ops []porcupine.Operation) bool {
	t.Helper()
	switch porcupine.CheckOperationsTimeout(model, ops, time.Minute) {
	case porcupine.Ok:
		return true
	case porcupine.Unknown:
		t.Error("the history could not be checked within a minute")
	}
	return false
}

// picture writes a history as a page, to look at.
func picture(t *testing.T, model porcupine.Model, ops []porcupine.Operation) string {
	_, info := porcupine.CheckOperationsVerbose(model, ops, time.Minute)
	path := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		t.Error(err)
	}
	return path
}

// tampering changes what Redis is asked, and so takes from it what it checks.
type tampering func(cmd redis.Cmder)

func (f tampering) DialHook(next redis.DialHook) redis.DialHook { return next }
func (f tampering) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f tampering) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if f != nil {
			f(cmd)
		}
		return next(ctx, cmd)
	}
}

// turmoil records a run: sign-ins, sign-outs and refreshes of one user on three instances, for a while.
func (s *stage) turmoil(t *testing.T, c *chronicle) {
	ctx := t.Context()
	before := s.KeysOf()
	u := s.user()
	var key, rt string
	for _, k := range s.KeysOf() {
		if !slices.Contains(before, k) && strings.HasSuffix(k, ":tokens") {
			key = k
		}
	}
	for _, r := range s.Records() {
		if r.RedisKey == key && r.Section == "RefreshToken" {
			rt = r.Field
		}
	}
	harness.Succeeds(t, s.here.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
	s.Client().Del(ctx, strings.TrimSuffix(key, "tokens")+"tombstone") // the history begins here
	instances := []*staged{s.here, s.there, s.elsewhere}
	for _, i := range instances {
		i.renew()
	}
	c.begin(key, rt)
	until := time.Now().Add(250 * time.Millisecond)
	var wg sync.WaitGroup
	clients := 0
	during := func(n int, among []*staged, f func(client int, i *staged)) {
		for range n {
			client := clients
			clients++
			wg.Go(func() {
				for time.Now().Before(until) && !t.Failed() {
					f(client, among[rand.N(len(among))])
				}
			})
		}
	}
	// Sign-outs are here, and sign-ins are not: beside a sign-out of the same instance a sign-in waits behind it, and
	// Redis has it a little later than the caller.
	during(2, instances[1:], func(client int, i *staged) {
		call := c.now()
		got, err := i.trySignIn(ctx, u)
		if err != nil {
			t.Errorf("sign-in: %v", err)
			return
		}
		c.add(client, call, seen{"sign-in", []int{s.descent.root(got.AccessToken)}})
		time.Sleep(rand.N(40 * time.Millisecond)) // so that sign-outs have their turn
	})
	during(1, instances[:1], func(client int, i *staged) {
		call := c.now()
		harness.Succeeds(t, i.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
		c.add(client, call, seen{what: "sign-out"})
		time.Sleep(rand.N(40 * time.Millisecond))
	})
	during(3, instances, func(_ int, i *staged) { // an error says that the user is signed out
		_, _ = harness.Silent(ctx, i.app, u.HomeAccountID(),
			fmt.Sprintf("https://graph.microsoft.com/Scope.%d", rand.N(1000)))
	})
	rdb, sealer := s.Client(), s.Sealer(s.Keys)
	during(1, instances, func(client int, _ *staged) {
		call := c.now()
		fields, err := rdb.HGetAll(ctx, key).Result()
		back := seen{what: "read"}
		for field, value := range fields {
			if field == "v" {
				continue
			}
			r, openErr := harness.OpenRecord(sealer, key, field, value)
			if err != nil || openErr != nil {
				t.Errorf("read: %v %v", err, openErr)
				return
			}
			if root := s.descent.root(r.Secret); r.Secret != "" && !slices.Contains(back.roots, root) {
				back.roots = append(back.roots, root)
			}
		}
		c.add(client, call, back)
		time.Sleep(rand.N(5 * time.Millisecond))
	})
	wg.Wait()
}

// trySignIn is signIn with an error.
func (i *staged) trySignIn(ctx context.Context, u entratest.User) (confidential.AuthResult, error) {
	scopes := []string{harness.UserScope}
	link, err := i.app.AuthCodeURL(ctx, harness.ClientID, harness.RedirectURI, scopes)
	if err != nil {
		return confidential.AuthResult{}, err
	}
	code, err := i.World.Entra.AuthorizeCode(link, u.Username)
	if err != nil {
		return confidential.AuthResult{}, err
	}
	return i.app.AcquireTokenByAuthCode(ctx, code, harness.RedirectURI, scopes)
}

// newTurmoil is a stage whose every Redis client is tampered with, and watched.
func newTurmoil(t *testing.T, tamper tampering) (*stage, *chronicle) {
	w := harness.NewWorld(t)
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.Latency = 3 * time.Millisecond })
	c, d := &chronicle{}, newDescent()
	instance := func() *staged { return newStaged(w, d, tamper, c) }
	return &stage{World: w, descent: d, here: instance(), there: instance(), elsewhere: instance()}, c
}

// Sign-ins, sign-outs and refreshes of one user at once on three instances: every history is one that the promise of a
// sign-out allows.
func TestHistoriesOfSignOuts(t *testing.T) {
	t.Parallel()
	s, c := newTurmoil(t, nil)
	histories, counts := 0, map[string]int{}
	searching := func(end time.Time) bool { // a refresh that races a sign-out comes by chance
		return time.Now().Before(end) || counts["stores refused"] == 0 && time.Now().Before(end.Add(30*time.Second))
	}
	for end := time.Now().Add(*historyTime); searching(end) && !t.Failed(); {
		s.turmoil(t, c)
		calls, scripts := c.recorded()
		if !legal(t, accounts, calls) {
			t.Errorf("a history of %d operations that a sign-out does not allow: %s", len(calls), picture(t, accounts, calls))
		}
		if !legal(t, partitions, scripts) {
			t.Errorf("a history of %d scripts that a partition does not allow: %s",
				len(scripts), picture(t, partitions, scripts))
		}
		histories++
		for _, op := range calls {
			counts[op.Input.(seen).what]++
		}
		for _, op := range scripts {
			r := op.Input.(ran)
			counts["script "+r.what]++
			if r.refused {
				counts["stores refused"]++
			}
		}
	}
	t.Logf("%d histories: %v", histories, counts)
	if counts["stores refused"] == 0 {
		t.Error("no refresh raced a sign-out: this test shows little")
	}
}

// Without what keeps the promise the same turmoil brings about histories that it does not allow, and the checker says
// so.
func TestLongHistoriesOfBrokenSignOuts(t *testing.T) {
	long.Test(t)
	for name, tamper := range map[string]tampering{
		"a store that is not refused, by who did not hear of the sign-out": func(cmd redis.Cmder) {
			switch args := cmd.Args(); {
			case harness.IsStore(cmd):
				args[5] = "9999999999999999"
			case cmd.Name() == "publish":
				args[2] = ""
			}
		},
		"a sign-out that is as of too early a time": func(cmd redis.Cmder) {
			if harness.IsSignOut(cmd) {
				args := cmd.Args()
				args[8], args[9], args[10] = "1", "0", "0"
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := newTurmoil(t, tamper)
			for end := time.Now().Add(20 * time.Second); ; {
				s.turmoil(t, c)
				if calls, _ := c.recorded(); !legal(t, accounts, calls) {
					t.Logf("illegal, after %d operations", len(calls))
					return
				}
				if time.Now().After(end) {
					t.Fatal("the checker has found nothing")
				}
			}
		})
	}
}
