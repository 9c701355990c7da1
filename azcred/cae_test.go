package azcred_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

func (w *world) user(name string) (user entratest.User, assertion string) {
	w.t.Helper()
	user = entratest.User{Username: name, TenantID: tenant}
	w.entra.AddUser(user)
	assertion, err := w.entra.UserToken(clientID, name, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return user, assertion
}

// listening waits until n Caches hear what the others do.
func (w *world) listening(n int) {
	w.t.Helper()
	w.eventually(fmt.Sprint(n, " Caches listen"), func() bool {
		heard, err := w.redis.Client().PubSubNumSub(context.Background(), w.prefix+":v1:changes").Result()
		return err == nil && heard[w.prefix+":v1:changes"] == int64(n)
	})
}

func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal("never: " + what)
		}
	}
}

// A sign-out, and the app's tokens forgotten, end the tokens of requests with EnableCAE as they end the others: at once
// in the process where it is done, and in another as soon as that hears of it.
func TestRemovalsEndTokensWithCAEAndWithout(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, removal := range []struct {
		name   string
		as     func(cred *azcred.Credential, assertion string) *azcred.Credential
		remove func(c *msalredis.Cache, u entratest.User) error
	}{
		{"RemoveAccount", (*azcred.Credential).OnBehalfOf,
			func(c *msalredis.Cache, u entratest.User) error { return c.RemoveAccount(ctx, u.HomeAccountID()) }},
		{"ForgetAppTokens", func(cred *azcred.Credential, _ string) *azcred.Credential { return cred },
			func(c *msalredis.Cache, _ entratest.User) error { return c.ForgetAppTokens(ctx, clientID, tenant) }},
	} {
		t.Run(removal.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ada, assertion := w.user("ada@contoso.com")
			_, other := w.user("grace@contoso.com")
			hereCache, _ := w.cache(w.prefix)
			thereCache, _ := w.cache(w.prefix)
			here, there := w.on(hereCache), w.on(thereCache)
			kinds := map[string]policy.TokenRequestOptions{"with CAE": cae(graph), "without": plain(graph)}
			for _, o := range kinds { // whoever begins to listen empties MSAL's memory
				get(t, removal.as(here, assertion), o)
				get(t, removal.as(there, assertion), o)
			}
			w.listening(2)
			old, others := map[string]string{}, map[string]string{}
			for kind, o := range kinds {
				old[kind] = get(t, removal.as(here, assertion), o).Token
				if get(t, removal.as(there, assertion), o).Token != old[kind] {
					t.Fatalf("the token %s is not shared", kind)
				}
				others[kind] = get(t, here.OnBehalfOf(other), o).Token
				get(t, there.OnBehalfOf(other), o)
			}
			w.entra.ResetRequests()
			if err := removal.remove(hereCache, ada); err != nil {
				t.Fatal(err)
			}
			for kind, o := range kinds {
				token := get(t, removal.as(here, assertion), o).Token
				if token == old[kind] {
					t.Errorf("%s: a token of before the removal serves where it was done", kind)
				}
				w.eventually(kind+": another process has the token of after the removal", func() bool {
					return get(t, removal.as(there, assertion), o).Token == token
				})
			}
			w.count(len(kinds), "one for each token that is gone")
			for kind, o := range kinds {
				if get(t, here.OnBehalfOf(other), o).Token != others[kind] ||
					get(t, there.OnBehalfOf(other), o).Token != others[kind] {
					t.Errorf("%s: another user's token is gone too", kind)
				}
			}
			w.count(len(kinds), "nobody else's token is gone")
		})
	}
}

// On one Cache callers with EnableCAE and without never get each other's token, whoever comes first and of whichever
// process: what is stored for one is no answer for the other, for the app, for a user, and after a challenge.
func TestOneCacheKeepsCAETokensApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, ada := w.user("ada@contoso.com")
	for name, as := range map[string]func(*azcred.Credential) *azcred.Credential{
		"app":  func(c *azcred.Credential) *azcred.Credential { return c },
		"user": func(c *azcred.Credential) *azcred.Credential { return c.OnBehalfOf(ada) },
	} {
		for _, first := range []bool{true, false} {
			w.prefix += "x"
			one, two := as(w.credential()), as(w.credential())
			ask := func(c *azcred.Credential, cae bool, claims string) string {
				return get(t, c, policy.TokenRequestOptions{Scopes: []string{graph}, EnableCAE: cae, Claims: claims}).Token
			}
			tokens := map[bool]string{first: ask(one, first, ""), !first: ask(one, !first, "")}
			check := func(when string) {
				t.Helper()
				for range 2 {
					for _, c := range []*azcred.Credential{one, two, as(w.credential())} {
						for _, cae := range []bool{true, false} {
							if ask(c, cae, "") != tokens[cae] {
								t.Errorf("%s, CAE first %v, %s: a caller with EnableCAE %v has not the token that is for it",
									name, first, when, cae)
							}
						}
					}
				}
			}
			check("at first")
			tokens[true] = ask(one, true, challenge)
			if tokens[true] == tokens[false] {
				t.Errorf("%s: one token for both", name)
			}
			// Another process may hold the refused token until it is refused there; the asker, and who comes anew, do not.
			two = one
			check("after a challenge")
		}
	}
}

// What thousands of assertions leave in memory is bounded, with EnableCAE as without: MSAL keeps each one's token, some
// 5 KB, as long as it is not told otherwise. Not run beside others: it reads the heap.
func TestOnBehalfOfMemoryIsBounded(t *testing.T) {
	w := newWorld(t)
	tokens, err := msalredis.New(w.redis.Client(), w.sealer,
		&msalredis.Options{Prefix: w.prefix, OpTimeout: 10 * time.Second, LocalBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	cred := w.on(tokens, func(o *azcred.Options) { o.Transport = forgetful{o.Transport} })
	for name, o := range map[string]policy.TokenRequestOptions{"with CAE": cae(graph), "without": plain(graph)} {
		acquire := func(from, to int) {
			for n := from; n < to; n++ {
				get(t, cred.OnBehalfOf(jwt("api", n)), o)
			}
		}
		acquire(0, 200) // what is bounded is full
		before := heap()
		acquire(200, 600)
		if used := heap() - before; used > 400*1700 { // less than an assertion is long; what is bounded varies by 70 KB
			t.Errorf("%s: 400 assertions have left %d KB", name, used>>10)
		}
	}
	runtime.KeepAlive(cred)
}

// forgetful is a token endpoint that keeps nothing of what it was asked, as the emulator does.
type forgetful struct{ http.RoundTripper }

func (f forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost {
		return f.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(
			fmt.Sprintf(`{"token_type":"Bearer","scope":%q,"expires_in":3600,"access_token":"a token for %s"}`,
				graph, form.Get("assertion")))),
	}, nil
}

// jwt is an unsigned one, as long as they are.
func jwt(subject string, n int) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256"}`)) + "." + part(
		fmt.Appendf(nil, `{"tid":%q,"oid":"%08d-0000-4000-8000-000000000001","sub":%q,"more":%q}`,
			tenant, n, subject, strings.Repeat("m", 1000))) + "." + part(make([]byte, 256))
}

// heap is what lives on the heap.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what has a finalizer goes the second time
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
