package msalredis_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// pop is an authentication scheme whose tokens are bound to a key of the application's.
type pop struct{ key string }

func (p pop) TokenRequestParams() map[string]string {
	return map[string]string{"token_type": "pop", "req_cnf": p.key}
}
func (p pop) KeyID() string                                  { return p.key }
func (p pop) FormatAccessToken(token string) (string, error) { return token, nil }
func (p pop) AccessTokenType() string                        { return "pop" }

// A key-bound token is of one process and nobody else's. There it is kept as MSAL keeps it, whatever else is asked for.
func TestKeyBoundTokenStaysWithItsClient(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	i := w.instance()
	app := i.app()
	get := func(app confidential.Client, key string) string {
		return must(t)(app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithAuthenticationScheme(pop{key})))
	}
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	before := w.entra.Count()
	token := get(app, "k1")
	for n := range 5 {
		must(t)(app.AcquireTokenByCredential(ctx, []string{dynamics}, confidential.WithTenantID(tenantName(n))))
		if get(app, "k1") != token {
			t.Error("another token than plain MSAL would give")
		}
	}
	w.count(t, before+1+5, "one key-bound token, and five tenants")
	if get(w.instance().app(), "k1") == token {
		t.Error("another process got it")
	}
	if get(app, "k2") == token {
		t.Error("it serves another key")
	}
}

// A user's key-bound token ends with the sign-out.
func TestKeyBoundTokenOfAUserEndsWithTheSignOut(t *testing.T) {
	ctx := context.Background()
	for name, signOut := range map[string]func(*instance, public.Client, public.Account) error{
		"Cache.RemoveAccount": func(i *instance, _ public.Client, a public.Account) error {
			return i.tokens.RemoveAccount(ctx, a.HomeAccountID)
		},
		"MSAL's": func(_ *instance, c public.Client, a public.Account) error { return c.RemoveAccount(ctx, a) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := w.addUsers(1)[0]
			i := w.instance()
			client := i.public()
			account := publicSignIn(t, w, client, u).Account
			get := func() (public.AuthResult, error) {
				return client.AcquireTokenSilent(ctx, []string{userScope}, public.WithSilentAccount(account), public.WithAuthenticationScheme(pop{"k"}))
			}
			before := w.entra.Count()
			token := must(t)(get())
			for range 4 {
				if must(t)(get()) != token {
					t.Error("another token")
				}
			}
			w.count(t, before+1, "five calls")
			if err := signOut(i, client, account); err != nil {
				t.Fatal(err)
			}
			if _, err := get(); err == nil {
				t.Error("a key-bound token after the sign-out")
			}
		})
	}
}

// A sign-in whose answer names nobody serves its own client, as with plain MSAL. It is nobody else's: not of a client that has
// tokens of the app, and not of another process.
func TestSignInThatNamesNobodyStaysWithItsClient(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	// The answer has an id_token, but neither a subject nor client_info. MSAL does not look at signatures.
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	idToken := part(`{"alg":"none"}`) + "." + part(`{"preferred_username":"somebody","tid":"`+tenant+`"}`) + "." + part("signature")
	w.entra.AddFault(entratest.Fault{Match: entratest.ByGrant("authorization_code"), Status: 200, Body: `{"token_type":"Bearer","expires_in":3600,
		"scope":"` + userScope + `","access_token":"an access token of nobody who is named","id_token":"` + idToken + `"}`})
	i := w.instance()
	app := i.app()
	signedIn := i.signIn(app, u)
	if signedIn.Account.HomeAccountID != "" {
		t.Fatal("the answer names somebody")
	}
	get := func(app confidential.Client) (confidential.AuthResult, error) {
		return app.AcquireTokenSilent(ctx, []string{userScope}, confidential.WithSilentAccount(signedIn.Account))
	}
	for range 3 {
		_, _ = app.Account(ctx, "somebody.else") // another hand-over
		if must(t)(get(app)) != signedIn.AccessToken {
			t.Error("another token")
		}
	}
	w.count(t, 1, "the sign-in")
	other := w.instance()
	if r, err := get(other.app()); err == nil {
		t.Errorf("another process found a token, %t its own", r.AccessToken == signedIn.AccessToken)
	}
	must(t)(app.AcquireTokenByCredential(ctx, []string{graph}))
	for _, app := range []confidential.Client{app, other.app()} {
		r, err := app.AcquireTokenByCredential(ctx, []string{userScope})
		if err == nil && r.AccessToken == signedIn.AccessToken {
			t.Error("the app got the user's token")
		}
	}
}

// msal10 is a document as MSAL 1.0 wrote it: its keys have capitals.
func msal10(t *testing.T, document []byte, sections ...string) []byte {
	t.Helper()
	var all map[string]map[string]json.RawMessage
	if err := json.Unmarshal(document, &all); err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("-accesstoken-", "-AccessToken-", "-refreshtoken-", "-RefreshToken-", "-idtoken-", "-IdToken-", "appmetadata-", "AppMetaData-")
	for _, section := range sections {
		for key, entry := range all[section] {
			delete(all[section], key)
			renamed := names.Replace(key)
			if renamed == key {
				renamed = strings.ToUpper(key)
			}
			all[section][renamed] = entry
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// MSAL renames the entries of MSAL 1.0 when it reads them. That is nobody's sign-out, and the next sign-in is kept.
func TestEntriesOfMSAL10AreNotSignedOutByTheirRenaming(t *testing.T) {
	ctx := context.Background()
	for _, sections := range [][]string{
		{"AccessToken", "RefreshToken", "IdToken", "Account", "AppMetadata"}, {"Account"}, {"RefreshToken"}, {"AccessToken"}, {"IdToken"},
	} {
		t.Run(strings.Join(sections, " "), func(t *testing.T) {
			w := newWorld(t)
			users := w.addUsers(2)
			old, base := &kept{}, w.entra.Transport()
			defer base.CloseIdleConnections()
			plain, err := public.New(publicID, public.WithAuthority(w.entra.Authority(tenant)), public.WithCache(old), public.WithHTTPClient(&http.Client{Transport: base}))
			if err != nil {
				t.Fatal(err)
			}
			account := publicSignIn(t, w, plain, users[0]).Account

			i := w.instance()
			m := &memory{}
			if err := i.tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
				t.Fatal(err)
			}
			m.document = msal10(t, old.document, sections...)
			if err := i.tokens.Export(ctx, m, cache.ExportHints{}); err != nil {
				t.Fatal(err)
			}
			client := i.public()
			if _, err := client.Accounts(ctx); err != nil {
				t.Fatal(err)
			}
			must(t)(client.AcquireTokenSilent(ctx, []string{userScope}, public.WithSilentAccount(account)))
			second := publicSignIn(t, w, client, users[1]).Account
			other := w.instance().public()
			if accounts, err := other.Accounts(ctx); err != nil || len(accounts) != 2 {
				t.Errorf("%d accounts, want 2: %v", len(accounts), err)
			}
			for _, a := range []public.Account{account, second} {
				must(t)(other.AcquireTokenSilent(ctx, []string{userScope}, public.WithSilentAccount(a)))
			}
			w.count(t, 0, "refreshes", entratest.ByGrant(refreshGrant))
		})
	}
}

// kept is a naive accessor's record.
type kept struct{ document []byte }

func (k *kept) Replace(_ context.Context, u cache.Unmarshaler, _ cache.ReplaceHints) error {
	if k.document == nil {
		return nil
	}
	return u.Unmarshal(k.document)
}

func (k *kept) Export(_ context.Context, m cache.Marshaler, _ cache.ExportHints) (err error) {
	k.document, err = m.Marshal()
	return err
}

func manyAccount(n int) string { return fmt.Sprintf("user%d.%s", n, tenant) }

// manyAccounts are entries of accounts of a client, as MSAL writes them.
func manyAccounts(t *testing.T, client string, environments map[int][]string, users ...int) []byte {
	t.Helper()
	all := map[string]map[string]map[string]string{"AccessToken": {}, "RefreshToken": {}, "Account": {}}
	for _, n := range users {
		for _, host := range environments[n] {
			home := manyAccount(n)
			entry := func(kind string, more ...string) map[string]string {
				e := map[string]string{"home_account_id": home, "environment": host, "client_id": client, "credential_type": kind, "secret": kind + " of " + home}
				for i := 0; i < len(more); i += 2 {
					e[more[i]] = more[i+1]
				}
				return e
			}
			now := time.Now()
			all["AccessToken"][home+"-"+host+"-accesstoken-"+client+"-"+tenant+"-s"] = entry("AccessToken", "realm", tenant, "target", "s",
				"cached_at", fmt.Sprint(now.Unix()), "expires_on", fmt.Sprint(now.Add(time.Hour).Unix()), "token_type", "Bearer")
			all["RefreshToken"][home+"-"+host+"-refreshtoken-"+client] = entry("RefreshToken")
			all["Account"][home+"-"+host+"-"+tenant] = map[string]string{"home_account_id": home, "environment": host, "realm": tenant,
				"local_account_id": fmt.Sprint(n), "username": fmt.Sprint(n), "authority_type": "MSSTS"}
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// One Export may bring a sign-out and a sign-in: both count. A sign-out is one also where MSAL leaves the account's entries of
// another name of the cloud.
func TestSignOutBesideASignIn(t *testing.T) {
	ctx := context.Background()
	one, two := []string{"login.microsoftonline.com"}, []string{"login.microsoftonline.com", "login.windows.net"}
	for _, test := range []struct {
		name          string
		before, after map[int][]string
		left          string
	}{
		{"one of one", map[int][]string{0: one}, map[int][]string{1: one}, "1"},
		{"one of two", map[int][]string{0: one, 1: one}, map[int][]string{1: one, 2: one}, "1 2"},
		{"one name of two", map[int][]string{0: two, 1: one}, map[int][]string{0: one, 1: one}, "1"},
		{"one name of two, and a sign-in", map[int][]string{0: two}, map[int][]string{0: one, 1: one}, "1"},
		{"none", map[int][]string{0: one}, map[int][]string{0: one, 1: one}, "0 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			i := w.instance()
			m := &memory{}
			for _, document := range []map[int][]string{test.before, test.after} {
				if err := i.tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
					t.Fatal(err)
				}
				m.document = manyAccounts(t, publicID, document, 0, 1, 2)
				if err := i.tokens.Export(ctx, m, cache.ExportHints{}); err != nil {
					t.Fatal(err)
				}
			}
			for _, j := range []*instance{i, w.instance()} {
				m := &memory{}
				if err := j.tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
					t.Fatal(err)
				}
				var left []string
				for n := range 3 {
					if bytes.Contains(m.document, fmt.Appendf(nil, "RefreshToken of user%d.", n)) {
						left = append(left, fmt.Sprint(n))
					}
				}
				if got := strings.Join(left, " "); got != test.left {
					t.Errorf("signed in: %q, want %q", got, test.left)
				}
			}
		})
	}
}

// loading counts the looks at records, how many of them are under way at once, and makes Redis far away.
type loading struct{ all, now, most atomic.Int64 }

func (l *loading) DialHook(next redis.DialHook) redis.DialHook { return next }
func (l *loading) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (l *loading) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !hasKeys(cmd, ":tokens", ":tombstone") {
			return next(ctx, cmd)
		}
		l.all.Add(1)
		now := l.now.Add(1)
		defer l.now.Add(-1)
		for most := l.most.Load(); now > most && !l.most.CompareAndSwap(most, now); most = l.most.Load() {
		}
		<-time.After(2 * time.Millisecond)
		return next(ctx, cmd)
	}
}

// A public client with hundreds of accounts lists them all, asks for them at once, and not again for each sign-in beside them; and
// each can be signed out.
func TestPublicClientWithManyAccounts(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	const accounts = 300
	m, users, hosts := &memory{}, make([]int, accounts), map[int][]string{}
	for n := range users {
		users[n], hosts[n] = n, []string{w.entra.Host()}
	}
	first := w.instance()
	if err := first.tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
		t.Fatal(err)
	}
	m.document = manyAccounts(t, publicID, hosts, users...)
	if err := first.tokens.Export(ctx, m, cache.ExportHints{}); err != nil {
		t.Fatal(err)
	}

	looks := &loading{}
	rdb := w.client()
	rdb.AddHook(looks)
	o := options(w.prefix)
	o.LocalTTL = 50 * time.Millisecond
	i := w.instanceOn(hooked{rdb}, w.sealer(w.keys), o)
	client := i.public()
	var listed []public.Account
	for n := range 3 {
		var err error
		if listed, err = client.Accounts(ctx); err != nil || len(listed) != accounts {
			t.Fatalf("%d accounts, want %d: %v", len(listed), accounts, err)
		}
		if n == 0 && looks.most.Load() < 2 {
			t.Error("one account is asked for after another")
		}
		waitUntil(time.Now().Add(2 * o.LocalTTL))
	}
	before := looks.all.Load()
	publicSignIn(t, w, client, w.addUsers(1)[0])
	if err := client.RemoveAccount(ctx, listed[0]); err != nil {
		t.Fatal(err)
	}
	if n := looks.all.Load() - before; n > 20 {
		t.Errorf("a sign-in and a sign-out looked at %d records", n)
	}
	if left, err := w.instance().public().Accounts(ctx); err != nil || len(left) != accounts {
		t.Errorf("%d accounts, want %d: %v", len(left), accounts, err)
	}
}

// If MSAL changed the form of its key for an app's tokens, they would be shared no more: that is counted, and said once.
func TestAppTokenUnderAKeyOfAnotherFormIsCounted(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	log := &bytes.Buffer{}
	i := w.instance(func(o *msalredis.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	for n := range 2 {
		m := &memory{}
		key := fmt.Sprintf("app|%s|%d", clientID, n)
		if err := i.tokens.Replace(ctx, m, cache.ReplaceHints{PartitionKey: key}); err != nil {
			t.Fatal(err)
		}
		m.document = fmt.Appendf(nil, `{"AccessToken":{"k%d":{"environment":"login.microsoftonline.com","realm":%q,"client_id":%q,"secret":"x","target":"s",`+
			`"cached_at":"%d","expires_on":"%d"}}}`, n, tenant, clientID, time.Now().Unix(), time.Now().Add(time.Hour).Unix())
		if err := i.tokens.Export(ctx, m, cache.ExportHints{PartitionKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	(&census{all: map[string]point{}}).is(t, i, 2, "msalredis.writes", "msalredis.outcome=unknown_key")
	if n := strings.Count(log.String(), "a token that names no user came under a key"); n != 1 {
		t.Errorf("said %d times, want once", n)
	}
}
