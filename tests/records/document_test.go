package records_test

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
	"github.com/msal-redis/msal-redis-go/tests/harness"
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
	w := harness.NewWorld(t)
	i := w.Instance()
	app := i.App()
	get := func(app confidential.Client, key string) string {
		return harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope},
			confidential.WithAuthenticationScheme(pop{key})))
	}
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	before := w.Entra.Count()
	token := get(app, "k1")
	for n := range 5 {
		harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.DynamicsScope},
			confidential.WithTenantID(harness.TenantName(n))))
		if get(app, "k1") != token {
			t.Error("another token than plain MSAL would give")
		}
	}
	w.Count(t, before+1+5, "one key-bound token, and five tenants")
	if get(w.Instance().App(), "k1") == token {
		t.Error("another process got it")
	}
	if get(app, "k2") == token {
		t.Error("it serves another key")
	}
}

// A user's key-bound token ends with the sign-out.
func TestKeyBoundTokenOfAUserEndsWithTheSignOut(t *testing.T) {
	ctx := context.Background()
	for name, signOut := range map[string]func(*harness.Instance, public.Client, public.Account) error{
		"Cache.RemoveAccount": func(i *harness.Instance, _ public.Client, a public.Account) error {
			return i.Tokens.RemoveAccount(ctx, a.HomeAccountID)
		},
		"MSAL's": func(_ *harness.Instance, c public.Client, a public.Account) error { return c.RemoveAccount(ctx, a) },
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			i := w.Instance()
			client := i.Public()
			account := harness.PublicSignIn(t, w, client, u).Account
			get := func() (public.AuthResult, error) {
				return client.AcquireTokenSilent(ctx, []string{harness.UserScope}, public.WithSilentAccount(account),
					public.WithAuthenticationScheme(pop{"k"}))
			}
			before := w.Entra.Count()
			token := harness.Must(t)(get())
			for range 4 {
				if harness.Must(t)(get()) != token {
					t.Error("another token")
				}
			}
			w.Count(t, before+1, "five calls")
			if err := signOut(i, client, account); err != nil {
				t.Fatal(err)
			}
			if _, err := get(); err == nil {
				t.Error("a key-bound token after the sign-out")
			}
		})
	}
}

// A sign-in whose answer names nobody serves its own client, as with plain MSAL. It is nobody else's: not of a client
// that has tokens of the app, and not of another process.
func TestSignInThatNamesNobodyStaysWithItsClient(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	// The answer has an id_token, but neither a subject nor client_info. MSAL does not look at signatures.
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	claims := `{"preferred_username":"somebody","tid":"` + harness.Tenant + `"}`
	idToken := part(`{"alg":"none"}`) + "." + part(claims) + "." + part("signature")
	w.Entra.AddFault(entratest.Fault{Match: entratest.ByGrant("authorization_code"), Status: 200,
		Body: `{"token_type":"Bearer","expires_in":3600,"scope":"` + harness.UserScope +
			`","access_token":"an access token of nobody who is named","id_token":"` + idToken + `"}`})
	i := w.Instance()
	app := i.App()
	signedIn := i.SignIn(app, u)
	if signedIn.Account.HomeAccountID != "" {
		t.Fatal("the answer names somebody")
	}
	get := func(app confidential.Client) (confidential.AuthResult, error) {
		return app.AcquireTokenSilent(ctx, []string{harness.UserScope}, confidential.WithSilentAccount(signedIn.Account))
	}
	for range 3 {
		_, _ = app.Account(ctx, "somebody.else") // another hand-over
		if harness.Must(t)(get(app)) != signedIn.AccessToken {
			t.Error("another token")
		}
	}
	w.Count(t, 1, "the sign-in")
	other := w.Instance()
	if r, err := get(other.App()); err == nil {
		t.Errorf("another process found a token, %t its own", r.AccessToken == signedIn.AccessToken)
	}
	harness.Must(t)(app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}))
	for _, app := range []confidential.Client{app, other.App()} {
		r, err := app.AcquireTokenByCredential(ctx, []string{harness.UserScope})
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
	names := strings.NewReplacer("-accesstoken-", "-AccessToken-", "-refreshtoken-", "-RefreshToken-",
		"-idtoken-", "-IdToken-", "appmetadata-", "AppMetaData-")
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
		{"AccessToken", "RefreshToken", "IdToken", "Account", "AppMetadata"}, {"Account"}, {"RefreshToken"},
		{"AccessToken"}, {"IdToken"},
	} {
		t.Run(strings.Join(sections, " "), func(t *testing.T) {
			w := harness.NewWorld(t)
			users := w.AddUsers(2)
			old, base := &kept{}, w.Entra.Transport()
			defer base.CloseIdleConnections()
			plain, err := public.New(harness.PublicID, public.WithAuthority(w.Entra.Authority(harness.Tenant)),
				public.WithCache(old), public.WithHTTPClient(&http.Client{Transport: base}))
			if err != nil {
				t.Fatal(err)
			}
			account := harness.PublicSignIn(t, w, plain, users[0]).Account

			i := w.Instance()
			m := &harness.MSALMemory{}
			if err := i.Tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
				t.Fatal(err)
			}
			m.Document = msal10(t, old.document, sections...)
			if err := i.Tokens.Export(ctx, m, cache.ExportHints{}); err != nil {
				t.Fatal(err)
			}
			client := i.Public()
			if _, err := client.Accounts(ctx); err != nil {
				t.Fatal(err)
			}
			harness.Must(t)(client.AcquireTokenSilent(ctx, []string{harness.UserScope}, public.WithSilentAccount(account)))
			second := harness.PublicSignIn(t, w, client, users[1]).Account
			other := w.Instance().Public()
			if accounts, err := other.Accounts(ctx); err != nil || len(accounts) != 2 {
				t.Errorf("%d accounts, want 2: %v", len(accounts), err)
			}
			for _, a := range []public.Account{account, second} {
				harness.Must(t)(other.AcquireTokenSilent(ctx, []string{harness.UserScope}, public.WithSilentAccount(a)))
			}
			w.Count(t, 0, "refreshes", entratest.ByGrant(harness.RefreshGrant))
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

// One Export may bring a sign-out and a sign-in: both count. A sign-out is one also where MSAL leaves the account's
// entries of another name of the cloud.
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
			w := harness.NewWorld(t)
			i := w.Instance()
			m := &harness.MSALMemory{}
			for _, document := range []map[int][]string{test.before, test.after} {
				if err := i.Tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
					t.Fatal(err)
				}
				m.Document = harness.ManyAccounts(t, harness.PublicID, document, 0, 1, 2)
				if err := i.Tokens.Export(ctx, m, cache.ExportHints{}); err != nil {
					t.Fatal(err)
				}
			}
			for _, j := range []*harness.Instance{i, w.Instance()} {
				m := &harness.MSALMemory{}
				if err := j.Tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
					t.Fatal(err)
				}
				var left []string
				for n := range 3 {
					if bytes.Contains(m.Document, fmt.Appendf(nil, "RefreshToken of user%d.", n)) {
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
		if !harness.HasKeys(cmd, ":tokens", ":tombstone") {
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

// A public client with hundreds of accounts lists them all, asks for them at once, and not again for each sign-in
// beside them; and each can be signed out.
func TestPublicClientWithManyAccounts(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	const accounts = 300
	m, users, hosts := &harness.MSALMemory{}, make([]int, accounts), map[int][]string{}
	for n := range users {
		users[n], hosts[n] = n, []string{w.Entra.Host()}
	}
	first := w.Instance()
	if err := first.Tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
		t.Fatal(err)
	}
	m.Document = harness.ManyAccounts(t, harness.PublicID, hosts, users...)
	if err := first.Tokens.Export(ctx, m, cache.ExportHints{}); err != nil {
		t.Fatal(err)
	}

	looks := &loading{}
	rdb := w.Client()
	rdb.AddHook(looks)
	o := harness.Options(w.Prefix)
	o.LocalTTL = 50 * time.Millisecond
	i := w.InstanceOn(harness.Hooked{UniversalClient: rdb}, w.Sealer(w.Keys), o)
	client := i.Public()
	var listed []public.Account
	for n := range 3 {
		var err error
		if listed, err = client.Accounts(ctx); err != nil || len(listed) != accounts {
			t.Fatalf("%d accounts, want %d: %v", len(listed), accounts, err)
		}
		if n == 0 && looks.most.Load() < 2 {
			t.Error("one account is asked for after another")
		}
		harness.WaitUntil(time.Now().Add(2 * o.LocalTTL))
	}
	before := looks.all.Load()
	harness.PublicSignIn(t, w, client, w.AddUsers(1)[0])
	if err := client.RemoveAccount(ctx, listed[0]); err != nil {
		t.Fatal(err)
	}
	if n := looks.all.Load() - before; n > 20 {
		t.Errorf("a sign-in and a sign-out looked at %d records", n)
	}
	if left, err := w.Instance().Public().Accounts(ctx); err != nil || len(left) != accounts {
		t.Errorf("%d accounts, want %d: %v", len(left), accounts, err)
	}
}

// If MSAL changed the form of its key for an app's tokens, they would be shared no more: that is counted, and said
// once.
func TestAppTokenUnderAKeyOfAnotherFormIsCounted(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	log := &bytes.Buffer{}
	i := w.Instance(func(o *msalredis.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	for n := range 2 {
		m := &harness.MSALMemory{}
		key := fmt.Sprintf("app|%s|%d", harness.ClientID, n)
		if err := i.Tokens.Replace(ctx, m, cache.ReplaceHints{PartitionKey: key}); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		m.Document = fmt.Appendf(nil, `{"AccessToken":{"k%d":{"environment":"login.microsoftonline.com","realm":%q,`+
			`"client_id":%q,"secret":"x","target":"s","cached_at":"%d","expires_on":"%d"}}}`,
			n, harness.Tenant, harness.ClientID, now.Unix(), now.Add(time.Hour).Unix())
		if err := i.Tokens.Export(ctx, m, cache.ExportHints{PartitionKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	(&harness.Census{All: map[string]harness.Point{}}).Is(t, i, 2, "msalredis.writes", "msalredis.outcome=unknown_key")
	if n := strings.Count(log.String(), "a token that names no user came under a key"); n != 1 {
		t.Errorf("said %d times, want once", n)
	}
}

// An app's token that comes along with a user's, under the user's key, says nothing about the form of MSAL's keys: what
// a naive accessor kept of a client that serves both is such a document. It is not counted, said or shared.
func TestAppTokenThatComesWithAUsersIsNotTold(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	log := &bytes.Buffer{}
	i := w.Instance(func(o *msalredis.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	const user = "Ada.contoso"
	now := time.Now()
	token := func(home string) string {
		return fmt.Sprintf(`"%s-k":{"home_account_id":%q,"environment":"login.microsoftonline.com","realm":%q,`+
			`"credential_type":"AccessToken","client_id":%q,"secret":"of %s","target":"s","cached_at":"%d","expires_on":"%d"}`,
			home, home, harness.Tenant, harness.ClientID, home, now.Unix(), now.Add(time.Hour).Unix())
	}
	m := &harness.MSALMemory{Document: []byte(`{"AccessToken":{` + token("") + `,` + token("ada.contoso") + `}}`)}
	if err := i.Tokens.Export(ctx, m, cache.ExportHints{PartitionKey: user}); err != nil {
		t.Fatal(err)
	}
	(&harness.Census{All: map[string]harness.Point{}}).Is(t, i, 0, "msalredis.writes", "msalredis.outcome=unknown_key")
	if log.Len() > 0 {
		t.Errorf("said %s", log)
	}
	other := &harness.MSALMemory{}
	if err := w.Instance().Tokens.Replace(ctx, other, cache.ReplaceHints{PartitionKey: user}); err != nil {
		t.Fatal(err)
	}
	if got := string(other.Document); !strings.Contains(got, "of ada") || strings.Contains(got, `"of "`) {
		t.Errorf("another instance reads %s", got)
	}
}
