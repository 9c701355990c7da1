package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// watched is a watch under way.
type watched struct {
	f      *fleet
	events chan event
	ended  chan result
	cancel context.CancelFunc

	mu       sync.Mutex
	reported bytes.Buffer
}

func (f *fleet) watch(change func(*world)) *watched {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{f: f, events: make(chan event, 1000), ended: make(chan result, 1), cancel: cancel}
	r, out := io.Pipe()
	report, says := io.Pipe()
	var seen bytes.Buffer
	listening := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			seen.WriteString(lines.Text() + "\n")
			var e event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				f.t.Errorf("%q: %v", lines.Text(), err)
			}
			w.events <- e
		}
	})
	readers.Go(func() {
		for lines := bufio.NewScanner(report); lines.Scan(); {
			w.mu.Lock()
			w.reported.WriteString(lines.Text() + "\n")
			w.mu.Unlock()
			if strings.HasPrefix(lines.Text(), "watching ") {
				close(listening)
			}
		}
	})
	go func() {
		machine := world{[]string{"watch", "--json", "--every", "100ms", "--prefix", f.prefix}, f.env, nil,
			out, says, time.Now}
		if change != nil {
			change(&machine)
		}
		code := run(ctx, machine)
		out.Close()
		says.Close()
		readers.Wait()
		f.mu.Lock()
		f.printed.WriteString(seen.String() + w.report())
		f.mu.Unlock()
		w.ended <- result{code, seen.String(), w.report()}
	}()
	select {
	case <-listening:
	case r := <-w.ended:
		f.t.Fatalf("watch ended: exit code %d: %s", r.code, r.report)
	case <-time.After(20 * time.Second):
		f.t.Fatal("watch does not listen within 20 s")
	}
	return w
}

func (w *watched) report() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reported.String()
}

// see waits for an event, and passes over others.
func (w *watched) see(name string, check func(event) bool) event {
	w.f.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case e := <-w.events:
			if e.Event == name && check(e) {
				return e
			}
		case <-limit:
			w.f.t.Fatalf("no event %q within 20 s", name)
		}
	}
}

func (w *watched) end() result {
	w.f.t.Helper()
	w.cancel()
	select {
	case r := <-w.ended:
		return r
	case <-time.After(20 * time.Second):
		w.f.t.Fatal("ctrl-C does not end watch within 20 s")
		return result{}
	}
}

func TestWatchSeesWhatTheFleetDoes(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	w := f.watch(nil)
	a, b := f.instance(), f.instance()

	// One instance asks and is kept waiting by Entra ID; the other waits for it.
	arrived, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	remove := f.entra.OnTokenRequest(func(entratest.Request) {
		once.Do(func() { close(arrived) })
		<-goOn
	})
	var both sync.WaitGroup
	both.Go(func() { a.appToken(graph) })
	<-arrived
	both.Go(func() { b.appToken(graph) })
	waiting := w.see(eventWaiting, func(event) bool { return true })
	if waiting.Instances != 1 {
		t.Errorf("%d instances wait, want 1", waiting.Instances)
	}
	close(goOn)
	both.Wait()
	remove()
	is := func(scope string) func(event) bool {
		return func(e event) bool {
			return slices.Contains(e.Clients, clientID) && slices.Contains(e.Tenants, tenant) &&
				slices.ContainsFunc(e.Scopes, func(s string) bool {
					return strings.EqualFold(s, scope)
				})
		}
	}
	if e := w.see(eventRefreshed, is(graph)); e.ID != waiting.ID || e.Kind != kindAppAnswer ||
		time.Until(e.Expires) < 50*time.Minute {
		t.Errorf("%+v", e)
	}

	remove = f.entra.AddFault(entratest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "600",
		Match: entratest.ByScope(dataverse)})
	if _, err := a.app.AcquireTokenByCredential(t.Context(), []string{dataverse}); err == nil {
		t.Fatal("Entra ID does not throttle")
	}
	remove()
	if e := w.see(eventThrottled, is(dataverse)); time.Until(e.Until) < 5*time.Minute || e.Status != "429 throttled" {
		t.Errorf("%+v", e)
	}

	// A user's refresh token is redeemed for another scope.
	a.signIn()
	account, err := a.app.Account(t.Context(), user.HomeAccountID())
	if err != nil {
		t.Fatal(err)
	}
	const mail = "https://graph.microsoft.com/Mail.Read"
	if _, err := a.app.AcquireTokenSilent(t.Context(), []string{mail},
		confidential.WithSilentAccount(account)); err != nil {
		t.Fatal(err)
	}
	if e := w.see(eventRefreshed, is(mail)); e.Account != user.HomeAccountID() || e.Username != user.Username ||
		e.Kind != kindUser {
		t.Errorf("%+v", e)
	}

	f.must("purge", "--account", user.HomeAccountID(), "--yes")
	if e := w.see(eventRemoved, func(event) bool { return true }); e.ID != layout.PartitionID(user.HomeAccountID()) ||
		e.Username != user.Username {
		t.Errorf("%+v", e)
	}
	r := w.end()
	if r.code != exitDone || !strings.Contains(r.report, "throttled 1") {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
}

// Without keys the ids, and without permission to ask who waits the rest.
func TestWatchWithLess(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.redis.AddUser("oncall", "a-pass-word", rule(t, "acl", f.prefix))
	f.url = f.as("oncall", "a-pass-word")
	if r := f.run("watch"); r.code != exitFailed || !strings.Contains(r.report, "+psubscribe") {
		t.Fatalf("exit code %d: %s", r.code, r.report)
	}
	f.redis.Do("ACL", "SETUSER", "oncall", "+psubscribe")
	w := f.watch(withoutKeys)
	f.instance().appToken(graph)
	if e := w.see(eventRefreshed, func(event) bool { return true }); len(e.Clients)+len(e.Scopes) > 0 ||
		e.Kind != kindAnswer {
		t.Errorf("%+v", e)
	}
	f.eventually("watch to say what it cannot see", func() bool { return strings.Contains(w.report(), "+pubsub") })
	if r := w.end(); r.code != exitDone {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
}

// Neither a Redis that is away for a while nor a quick restart ends watch, also where it may not ask who waits, or not
// publish.
func TestWatchOutlivesRedis(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]string{"every permission": "+@all", "blind": "+@all -pubsub",
		"mute": "+@all -publish"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := strings.Fields("--user oncall on >a-pass-word ~* &* " + rule) // a restart leaves it what it was
			f := newFleet(t, redistest.Args(user...))
			f.url = f.as("oncall", "a-pass-word")
			w := f.watch(nil)
			see := func(scope string) {
				t.Helper()
				f.instance().appToken(scope)
				w.see(eventRefreshed, func(e event) bool { return slices.Contains(e.Scopes, scope) })
			}
			see(graph)
			f.redis.Kill()
			w.reports(1, "Redis is away, trying again")
			f.redis.Restart()
			w.reports(1, "Redis is back")
			see(dataverse)
			f.redis.Restart()
			w.reports(2, "Redis is away, trying again")
			w.reports(2, "Redis is back")
			see("https://vault.azure.net/.default")
			r := w.end()
			if r.code != exitDone || !strings.Contains(r.report, "refreshed 3") ||
				strings.Count(r.report, "Redis is ") != 4 || strings.Contains(r.report, "a-pass-word") {
				t.Errorf("exit code %d: %s", r.code, r.report)
			}
		})
	}
}

// reports waits until watch has said something so many times.
func (w *watched) reports(times int, what string) {
	w.f.t.Helper()
	w.f.eventually("watch to say that "+what, func() bool { return strings.Count(w.report(), what) == times })
}

// A node of a cluster that is away for a while does not end watch, whether it is the one that watch listens to or
// another; and what then happens on each node is seen.
func TestWatchOutlivesANodeOfACluster(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]string{"every permission": "+@all", "blind": "+@all -pubsub"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := strings.Fields("--user oncall on >a-pass-word ~* &* " + rule)
			c := redistest.StartCluster(t, redistest.Args(user...))
			f := newFleet(t)
			f.url = "redis://oncall:a-pass-word@" + strings.Join(c.Addrs(), ",")
			f.client = func() redis.UniversalClient { return c.Client() }
			w := f.watch(nil)
			scopes := 0
			seesEachNode := func() {
				t.Helper()
				i := f.instance()
				for seen := map[int]bool{}; len(seen) < len(c.Nodes); scopes++ {
					scope := fmt.Sprintf("https://org%d.crm.dynamics.com/.default", scopes)
					i.appToken(scope)
					e := w.see(eventRefreshed, func(e event) bool { return slices.Contains(e.Scopes, scope) })
					slot := c.Nodes[0].Do("CLUSTER", "KEYSLOT", "{"+string(e.ID)+"}").(int64)
					seen[int(slot)*len(c.Nodes)/16384] = true
				}
			}
			seesEachNode()
			for n, node := range c.Nodes {
				node.Kill()
				w.reports(n+1, "Redis is away, trying again")
				node.Restart()
				c.Wait()
				w.reports(n+1, "Redis is back")
				seesEachNode()
			}
			if r := w.end(); r.code != exitDone || strings.Contains(r.report, "a-pass-word") {
				t.Errorf("exit code %d: %s", r.code, r.report)
			}
		})
	}
}

// A failover does not end watch: neither one that somebody asks the Sentinel for, after which the old primary is there
// and takes commands until the Sentinel demotes it, nor one after the end of a primary. What then happens on the new
// primary is seen.
func TestWatchOutlivesAFailover(t *testing.T) {
	t.Parallel()
	r := redistest.StartReplicated(t)
	f := newFleet(t)
	f.url = "redis://" + r.Sentinels[0] + "?master_name=" + r.MasterName
	f.client = func() redis.UniversalClient { return r.FailoverClient() }
	w := f.watch(nil)
	sees := func(scope string) {
		t.Helper()
		f.instance().appToken(scope)
		w.see(eventRefreshed, func(e event) bool { return slices.Contains(e.Scopes, scope) })
	}
	sees(graph)
	r.Sentinel.Do("SENTINEL", "DEBUG", "PUBLISH-PERIOD", "3600000") // four of them, and it demotes
	f.eventually("the Sentinel to fail over", func() bool {
		return r.Sentinel.Client().Do(t.Context(), "SENTINEL", "FAILOVER", r.MasterName).Err() == nil
	})
	r.WaitForPromotion()
	w.reports(1, "Redis is back")
	sees(dataverse)
	r.Sentinel.Do("SENTINEL", "DEBUG", "PUBLISH-PERIOD", "100")
	r.Failover() // has happened: it waits until the old primary follows
	sees("https://contoso.sharepoint.com/.default")
	r.Primary.Kill()
	r.WaitForPromotion()
	w.reports(2, "Redis is back")
	sees("https://vault.azure.net/.default")
	if r := w.end(); r.code != exitDone || strings.Count(r.report, "Redis is away, trying again") != 2 {
		t.Errorf("exit code %d: %s", r.code, r.report)
	}
}

// Redis may be there and not ready, and what it answers then is no refusal.
func TestWatchWaitsForARedisThatLoads(t *testing.T) {
	t.Parallel()
	var loading atomic.Bool
	addr := answering(t, func(command string) string {
		switch {
		case command == "PSUBSCRIBE":
			return "*3\r\n$10\r\npsubscribe\r\n$6\r\nmsal:*\r\n:1\r\n"
		case loading.Load():
			return "-LOADING Redis is loading the dataset in memory\r\n"
		case command == "PUBSUB":
			return "*0\r\n"
		case command == "PING":
			return "+PONG\r\n"
		}
		return "-ERR unknown command\r\n"
	})
	ctx, cancel := context.WithCancel(t.Context())
	p := &printed{cancel: cancel, done: make(chan struct{})}
	var code int
	go func() {
		defer close(p.done)
		args := []string{"watch", "--every", "100ms", "--redis", "redis://" + addr + "?max_retries=-1&protocol=2"}
		code = run(ctx, world{args, func(string) string { return "" }, nil, p, p, time.Now})
	}()
	for i, says := range []string{"watching", "Redis is away, trying again: LOADING", "Redis is back"} {
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(p.text(), says); {
			if time.Now().After(deadline) {
				t.Fatalf("no %q: %s", says, p.text())
			}
			time.Sleep(5 * time.Millisecond)
		}
		loading.Store(i == 0)
	}
	if text := p.end(); code != exitDone || strings.Contains(text, "cannot be seen") {
		t.Errorf("exit code %d: %s", code, text)
	}
}
