package records_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// After every kind of flow every key expires: an app's record with its last token, a user's UserTTL after its last use,
// the rest sooner.
func TestEveryKeyHasATTL(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	users := w.AddUsers(3)
	const userTTL = 2 * time.Hour
	i := w.Instance(func(o *msalredis.Options) { o.UserTTL = userTTL })
	app := i.App()

	w.Lasting(10 * time.Minute)
	if _, err := app.AcquireTokenByCredential(ctx, []string{"https://short.example.com/.default"}); err != nil {
		t.Fatal(err)
	}
	w.Lasting(25 * time.Minute)
	long, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope})
	if err != nil {
		t.Fatal(err)
	}
	_, err = app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, confidential.WithFMIPath("a/b"))
	if err != nil {
		t.Fatal(err)
	}
	challenge := confidential.WithClaims(`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`)
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}, challenge); err != nil {
		t.Fatal(err)
	}
	i.SignIn(app, users[0])
	if _, err := harness.Silent(ctx, app, users[0].HomeAccountID(), harness.MailScope); err != nil {
		t.Fatal(err)
	}
	assertion, err := w.Entra.UserToken(harness.ClientID, users[1].Username, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope}); err != nil {
		t.Fatal(err)
	}
	pub := i.Public()
	harness.PublicSignIn(t, w, pub, users[2])
	i.SignIn(app, users[1])
	if err := i.Tokens.RemoveAccount(ctx, users[1].HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	err = i.Tokens.ForgetAppTokens(ctx, harness.ClientID, harness.Tenant, "https://short.example.com/.default")
	if err != nil {
		t.Fatal(err)
	}
	remove := w.Entra.AddFault(entratest.Fault{Status: 429, RetryAfter: "30"})
	if _, err := app.AcquireTokenByCredential(ctx, []string{"https://throttled.example.com/.default"}); err == nil {
		t.Fatal("a throttled request succeeded")
	}
	remove()

	rdb := w.Redis.Admin
	kinds := map[string]int{}
	for _, key := range w.KeysOf() {
		kind := key[strings.LastIndexByte(key, ':')+1:]
		kinds[kind]++
		ttl := rdb.PTTL(ctx, key).Val()
		if ttl <= 0 {
			t.Errorf("%s: no TTL", kind)
			continue
		}
		most := map[string]time.Duration{
			"tombstone": 28 * time.Hour, "pause": time.Hour, "lock": 5 * time.Second,
			"response": 30 * time.Minute, "tokens": userTTL, "rids": userTTL, "list": userTTL,
			"log": 28 * time.Hour,
		}[kind]
		if most == 0 {
			t.Errorf("%s: a kind of key that nobody has described", kind)
		}
		if ttl > most {
			t.Errorf("%s: lives for %v, want at most %v", kind, ttl, most)
		}
	}
	for _, kind := range []string{"tokens", "response", "tombstone", "pause", "rids", "list", "log"} {
		if kinds[kind] == 0 {
			t.Errorf("no key of kind %s: the test has lost its point; there are %v", kind, kinds)
		}
	}
	for _, r := range w.Records() {
		ttl := rdb.PTTL(ctx, r.RedisKey).Val()
		if r.HomeAccountID != "" {
			if ttl < userTTL-time.Minute {
				t.Errorf("a user's record lives for %v, want %v", ttl, userTTL)
			}
			continue
		}
		if off := time.Until(long.ExpiresOn) - ttl; off.Abs() > time.Minute {
			t.Errorf("an app's record lives %v longer than its last token", -off)
		}
	}
}

// A user's record lives for UserTTL after its last use: reading prolongs it, on any instance. And one that nobody uses
// goes.
func TestUserRecordSlides(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := harness.NewWorld(t)
	users := w.AddUsers(2)
	const ttl = 4 * time.Second
	short := func(o *msalredis.Options) { o.UserTTL, o.LocalTTL = ttl, 10*time.Millisecond }
	i := w.Instance(short)
	app := i.App()
	i.SignIn(app, users[0])
	i.SignIn(app, users[1])
	records, rdb := w.Records(), w.Redis.Admin
	used := harness.OneRecord(t, records, harness.InSection(msaldoc.SectionAccount), harness.OfUser(users[0])).RedisKey
	unused := harness.OneRecord(t, records, harness.InSection(msaldoc.SectionAccount), harness.OfUser(users[1])).RedisKey

	reader := w.Instance(short)
	// A client of its own: the documents of the first hold both users.
	client := reader.App()
	harness.Eventually(t, "an unused record goes while a used one stays", func() bool {
		if _, err := harness.Silent(ctx, client, users[0].HomeAccountID()); err != nil {
			t.Fatalf("the used record: %v", err)
		}
		return rdb.Exists(ctx, unused).Val() == 0
	})
	if left := rdb.PTTL(ctx, used).Val(); left < ttl/2 {
		t.Errorf("the used record has %v left, want about %v", left, ttl)
	}
	w.Count(t, 2, "the two sign-ins and no more")
}

// A record that nobody used for UserTTL has expired, and is not lost: an instance that knows it still neither serves it
// nor writes it back, also where a tombstone is left of a sign-out before.
func TestRecordThatExpiredUnusedIsNotWrittenBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, signedOut := range []bool{false, true} {
		t.Run(fmt.Sprintf("signed out before: %v", signedOut), func(t *testing.T) {
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			i := w.Instance(func(o *msalredis.Options) { o.UserTTL, o.LocalTTL = 2*time.Second, 10*time.Millisecond })
			app := i.App()
			i.SignIn(app, u)
			if signedOut {
				harness.Succeeds(t, i.Tokens.RemoveAccount(ctx, u.HomeAccountID()))
				i.SignIn(app, u)
			}
			record := harness.OneRecord(t, w.Records(), harness.InSection(msaldoc.SectionAccount), harness.OfUser(u)).RedisKey
			harness.Eventually(t, "the record expires", func() bool { return w.Redis.Admin.Exists(ctx, record).Val() == 0 })
			w.Entra.ResetRequests()
			c := &harness.Census{All: map[string]harness.Point{}}
			for range 2 {
				if _, err := harness.Silent(ctx, app, u.HomeAccountID()); err == nil {
					t.Error("a record that expired unused serves")
				}
			}
			c.Is(t, i, 0, "msalredis.writes", "msalredis.outcome=restored")
			w.Count(t, 0, "nobody is signed in")
		})
	}
}

// An account of a public client stays on the list of accounts for UserTTL after its last refresh, however long ago its
// sign-in was. One that nobody uses leaves it, and a user who never was on it does not come onto it.
func TestListedAccountSlides(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := harness.NewWorld(t)
	users := w.AddUsers(4)
	used, unused, another, confidentials := users[0], users[1], users[2], users[3]
	const ttl = 4 * time.Second
	w.Lasting(500 * time.Millisecond)
	i := w.Instance(func(o *msalredis.Options) { o.UserTTL = ttl })
	app, client, web := i.Public(), i.Public(), i.App()
	harness.PublicSignIn(t, w, app, unused)
	account := harness.PublicSignIn(t, w, client, used).Account
	i.SignIn(web, confidentials)
	for began := time.Now(); time.Since(began) < ttl+time.Second; {
		_, err := client.AcquireTokenSilent(ctx, []string{harness.UserScope}, public.WithSilentAccount(account))
		if err != nil {
			t.Fatal(err)
		}
		harness.Must(t)(harness.Silent(ctx, web, confidentials.HomeAccountID()))
		harness.WaitUntil(time.Now().Add(200 * time.Millisecond))
	}
	if left := w.Redis.Admin.PTTL(ctx, w.Prefix+":v1:{accounts}:list").Val(); left < ttl/2 {
		t.Errorf("the list has %v left, want about %v", left, ttl)
	}
	harness.PublicSignIn(t, w, app, another) // whoever is signed in next takes off the list what has expired
	var listed []string
	accounts, err := w.Instance().Public().Accounts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range accounts {
		listed = append(listed, a.PreferredUsername)
	}
	slices.Sort(listed)
	if want := []string{used.Username, another.Username}; !slices.Equal(listed, want) {
		t.Errorf("listed: %v, want %v", listed, want)
	}
}

// Expired access tokens leave a record with its next write; what is live stays.
func TestExpiredAccessTokensDisappear(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	i := w.Instance()
	app := i.App()
	i.SignIn(app, u)
	// MSAL keeps no token of so short a life, but the gate stores what a refresh brings.
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	const filesScope = "https://graph.microsoft.com/Files.Read"
	short, err := harness.Silent(ctx, app, u.HomeAccountID(), filesScope)
	if err != nil {
		t.Fatal(err)
	}
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Hour })
	harness.OneRecord(t, w.Records(), harness.InSection(msaldoc.SectionAccessToken), harness.OfUser(u), target(filesScope))
	harness.WaitUntil(short.ExpiresOn.Add(1500 * time.Millisecond))
	if _, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope); err != nil {
		t.Fatal(err)
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.Records() {
		if r.Section == msaldoc.SectionAccessToken && r.ExpiresOn <= time.Now().Unix() {
			t.Errorf("an access token that expired %d s ago is still in a record", time.Now().Unix()-r.ExpiresOn)
		}
	}
	records := w.Records()
	harness.OneRecord(t, records, harness.InSection(msaldoc.SectionAccessToken), harness.OfUser(u),
		target(harness.MailScope))
	harness.OneRecord(t, records, harness.InSection(msaldoc.SectionRefreshToken), harness.OfUser(u))
	harness.OneRecord(t, records, harness.InSection(msaldoc.SectionAccount), harness.OfUser(u))
}
