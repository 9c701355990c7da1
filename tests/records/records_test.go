package records_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// sealedAs makes the value that holds an entry at a place.
func sealedAs(t *testing.T, s serializer.Serializer, key, field, header string, plaintext []byte) string {
	t.Helper()
	sealed, err := s.Seal(plaintext, harness.AssociatedData(key, field, header))
	if err != nil {
		t.Fatal(err)
	}
	return header + string(sealed)
}

func target(scope string) func(harness.Record) bool {
	return func(r harness.Record) bool { return strings.Contains(" "+r.Target+" ", " "+scope+" ") }
}

// observed is an instance with its metrics and its log.
func observed(w *harness.World, change ...func(*msalredis.Options)) (*harness.Instance, *counters, *harness.Journal) {
	w.T.Helper()
	metrics, log := newCounters(), &harness.Journal{}
	change = append(change, func(o *msalredis.Options) {
		o.Telemetry = msalredisotel.Telemetry{MeterProvider: metrics}
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	return w.Instance(change...), metrics, log
}

// records2 are the records but one, which may be unreadable.
func records2(w *harness.World, but harness.Record) []harness.Record {
	w.T.Helper()
	s := w.Sealer(w.Keys)
	fields, err := w.Redis.Admin.HGetAll(context.Background(), but.RedisKey).Result()
	if err != nil {
		w.T.Fatal(err)
	}
	var all []harness.Record
	for field, value := range fields {
		if field == "v" || field == but.Field {
			continue
		}
		r, err := harness.OpenRecord(s, but.RedisKey, field, value)
		if err != nil {
			w.T.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// sealedWith is the id of the key that sealed a value (serializer/encrypted.go).
func sealedWith(value string) string {
	body := value[len(harness.HeadOf(value))+18:]
	return body[1 : 1+body[0]]
}

// sealingFails is a serializer whose key service can be away.
type sealingFails struct {
	serializer.Serializer
	away atomic.Bool
}

func (s *sealingFails) Seal(plaintext, associatedData []byte) ([]byte, error) {
	if s.away.Load() {
		return nil, errors.New("the key service is away")
	}
	return s.Serializer.Seal(plaintext, associatedData)
}

// owner is whose record an entry must be in: the account's, or the app's in a tenant.
func owner(r harness.Record) string {
	if r.HomeAccountID != "" {
		return r.HomeAccountID
	}
	return "app in " + r.Realm
}

// checkOwners checks that no record has entries of two partitions, and that none is in two records.
func checkOwners(t *testing.T, records []harness.Record) (owners map[string]string) {
	t.Helper()
	owners = map[string]string{}
	keys := map[string]string{}
	for _, r := range records {
		if have, ok := owners[r.RedisKey]; ok && have != owner(r) {
			t.Errorf("a record has entries of two partitions: %s of one", r.Section)
		}
		owners[r.RedisKey] = owner(r)
		if have, ok := keys[owner(r)]; ok && have != r.RedisKey {
			t.Errorf("a partition is in two records: %s", r.Section)
		}
		keys[owner(r)] = r.RedisKey
		if r.Section == msaldoc.SectionAccessToken && r.HomeAccountID == "" && r.Realm == "" {
			t.Error("an access token of nobody")
		}
	}
	return owners
}

// No record has another partition's entries, whatever the order of misses and hits of as many tenants as users on one
// client of each of two instances.
func TestNoRecordHasAnotherPartitionsEntries(t *testing.T) { ownEntries(t, 10) }

func TestLongNoRecordHasAnotherPartitionsEntries(t *testing.T) {
	long.Test(t)
	ownEntries(t, 20)
}

func ownEntries(t *testing.T, partitions int) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	users := w.AddUsers(partitions)
	a, b := w.Instance(), w.Instance()
	apps := []confidential.Client{a.App(), b.App()}
	for n, u := range users {
		[]*harness.Instance{a, b}[n%2].SignIn(apps[n%2], u)
	}
	type step struct {
		app, n int
		scope  string
	}
	var steps []step
	for app := range apps {
		for n := range partitions {
			for _, scope := range []string{harness.GraphScope, "https://org.crm4.dynamics.com/.default"} {
				steps = append(steps, step{app, n, scope})
			}
			for _, scope := range []string{harness.UserScope, harness.MailScope} {
				steps = append(steps, step{app, partitions + n, scope})
			}
		}
	}
	steps = append(steps, steps...)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	const goroutines = 8
	errs := harness.Parallel(goroutines, func(g int) error {
		for i := g; i < len(steps); i += goroutines {
			s := steps[i]
			if s.n >= partitions {
				if _, err := harness.Silent(ctx, apps[s.app], users[s.n-partitions].HomeAccountID(), s.scope); err != nil {
					return err
				}
				continue
			}
			other := fmt.Sprintf("%08d-1111-4222-8333-00000000000d", s.n)
			_, err := apps[s.app].AcquireTokenByCredential(ctx, []string{s.scope}, confidential.WithTenantID(other))
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		t.Error(err)
	}
	records := w.Records()
	owners := checkOwners(t, records)
	if len(owners) != 2*partitions {
		t.Errorf("%d records, want %d", len(owners), 2*partitions)
	}
	access := map[string]int{}
	for _, r := range records {
		if r.Section == msaldoc.SectionAccessToken {
			access[r.RedisKey]++
		}
	}
	for key, who := range owners {
		if access[key] != 2 {
			t.Errorf("%d access tokens of %.20s, want one for each scope", access[key], who)
		}
	}
	w.Count(t, 4*partitions, "sign-ins, two scopes of each tenant, one more of each user")
}

// On-behalf-of tokens are in no record: MSAL exports, under an assertion's key, what the client's users have. Not even
// a record of the assertion's name appears.
func TestAssertionKeysNeverHoldOtherUsersEntries(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	users := w.AddUsers(6)
	a, b := w.Instance(), w.Instance()
	appA, appB := a.App(), b.App()
	for _, u := range users[:3] {
		a.SignIn(appA, u)
	}
	before := len(w.KeysLike(":tokens"))
	var forbidden []string
	for _, u := range users {
		assertion, err := w.Entra.UserToken(harness.ClientID, u.Username, "")
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256([]byte(assertion))
		for _, e := range []*base64.Encoding{base64.URLEncoding, base64.RawURLEncoding, base64.StdEncoding} {
			forbidden = append(forbidden, e.EncodeToString(hash[:]))
		}
		for _, app := range []confidential.Client{appA, appB} {
			if _, err := app.AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope}); err != nil {
				t.Fatal(err)
			}
			if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
				t.Fatal(err)
			}
			if _, err := harness.Silent(ctx, app, users[0].HomeAccountID()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if after := len(w.KeysLike(":tokens")); after != before+1 {
		t.Errorf("%d records after on-behalf-of, want %d and the app's", after, before)
	}
	records := w.Records()
	checkOwners(t, records)
	for _, r := range records {
		if slices.ContainsFunc(users[3:], func(u entratest.User) bool { return r.HomeAccountID == u.HomeAccountID() }) {
			t.Errorf("a %s of a user who never signed in here is in a record", r.Section)
		}
	}
	for _, key := range w.KeysOf() {
		for _, hash := range forbidden {
			// Names are hashed by a scheme of their own; MSAL's never shows.
			if strings.Contains(key, hash) {
				t.Error("an assertion's hash is in the name of a key")
			}
		}
	}
	// 3 sign-ins, an app's token, and one on-behalf-of request per assertion.
	w.Count(t, 3+1+6, "on-behalf-of beside users and app")
}

// Members that this MSAL does not know stay in an entry that another MSAL wrote, whatever is written beside it, and
// reach MSAL and come back.
func TestUnknownMembersOfEntriesSurvive(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	first := w.Instance()
	first.SignIn(first.App(), u)
	s := w.Sealer(w.Keys)
	changed := map[string]bool{}
	for _, r := range w.Records() {
		if r.Section == msaldoc.SectionIDToken || r.Section == msaldoc.SectionAccount {
			continue // MSAL itself writes these anew with each refresh
		}
		raw := append(bytes.TrimSuffix(slices.Clone(r.Raw), []byte("}")), `,"from_another_msal":{"kept":[1,"x"]}}`...)
		e, err := msaldoc.NewEntry(r.Section, r.Key, raw)
		if err != nil {
			t.Fatal(err)
		}
		w.Put(r.RedisKey, r.Field, sealedAs(t, s, r.RedisKey, r.Field, harness.HeadOf(r.Value), layout.AppendEntry(nil, e)))
		changed[r.Field] = true
	}
	if len(changed) < 2 {
		t.Fatalf("%d entries changed", len(changed))
	}
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.OmitRefreshToken = true }) // so that the old one stays
	second := w.Instance()
	app := second.App()
	if _, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope); err != nil {
		t.Fatal(err)
	}
	if _, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.UserScope); err != nil {
		t.Fatal(err)
	}
	records := w.Records()
	harness.OneRecord(t, records, harness.InSection(msaldoc.SectionAccessToken), target(harness.MailScope))
	for _, r := range records {
		if changed[r.Field] && !bytes.Contains(r.Raw, []byte(`"from_another_msal":{"kept":[1,"x"]}`)) {
			t.Errorf("%s: the unknown member is gone", r.Section)
		}
	}
}

// Two processes that store different scopes of one partition at the same moment, again and again, lose nothing: for
// apps, whose requests the emulator lets go on only together; and for users, whose refreshes take turns.
func TestConcurrentStoresOfOnePartitionLoseNothing(t *testing.T) { concurrentStores(t, 15) }

func TestLongConcurrentStoresOfOnePartitionLoseNothing(t *testing.T) {
	long.Test(t)
	concurrentStores(t, 200)
}

func concurrentStores(t *testing.T, rounds int) {
	const other = "https://org.crm4.dynamics.com/.default"
	t.Run("app", func(t *testing.T) {
		w := harness.NewWorld(t)
		ps := w.Processes(2)
		var mu sync.Mutex
		meet := map[string]chan struct{}{}
		remove := w.Entra.OnTokenRequest(func(r entratest.Request) {
			mu.Lock()
			c, ok := meet[r.Tenant]
			if ok {
				close(c)
			} else {
				c = make(chan struct{})
				meet[r.Tenant] = c
			}
			mu.Unlock()
			select {
			case <-c:
			case <-time.After(20 * time.Second): // the test fails by its counts
			}
		})
		defer remove()
		tenants := map[string]bool{}
		for n := range rounds {
			name := fmt.Sprintf("%08d-1111-4222-8333-00000000000e", n)
			tenants[name] = true
			ps[0].Send(harness.Order{Op: "app", Tenant: name, Scopes: []string{harness.GraphScope}})
			ps[1].Send(harness.Order{Op: "app", Tenant: name, Scopes: []string{other}})
			for _, p := range ps {
				for _, e := range p.Receive().Errors {
					t.Fatal(e)
				}
			}
		}
		w.Count(t, 2*rounds, "two scopes of each tenant")
		if n := len(w.Entra.Concurrent()); n < rounds {
			t.Errorf("%d pairs of requests met, want %d", n, rounds)
		}
		checkScopes(t, w.Records(), rounds, harness.GraphScope, other)
	})
	t.Run("user", func(t *testing.T) {
		w := harness.NewWorld(t)
		users := w.AddUsers(rounds)
		i := w.Instance()
		app := i.App()
		for _, u := range users {
			i.SignIn(app, u, "https://graph.microsoft.com/Files.Read")
		}
		ps := w.Processes(2)
		for _, u := range users {
			ps[0].Send(harness.Order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{harness.VaultScope}})
			ps[1].Send(harness.Order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{harness.CrmScope}})
			for _, p := range ps {
				for _, e := range p.Receive().Errors {
					t.Fatal(e)
				}
			}
		}
		w.Count(t, 3*rounds, "a sign-in and two scopes of each user")
		checkScopes(t, w.Records(), rounds, harness.VaultScope, harness.CrmScope, "https://graph.microsoft.com/Files.Read")
	})
}

// checkScopes checks that each of n records has one access token for each scope.
func checkScopes(t *testing.T, records []harness.Record, n int, scopes ...string) {
	t.Helper()
	checkOwners(t, records)
	have := map[string]map[string]int{}
	for _, r := range records {
		if r.Section != msaldoc.SectionAccessToken {
			continue
		}
		if have[r.RedisKey] == nil {
			have[r.RedisKey] = map[string]int{}
		}
		for _, scope := range scopes {
			if target(scope)(r) {
				have[r.RedisKey][scope]++
			}
		}
	}
	if len(have) != n {
		t.Errorf("%d records, want %d", len(have), n)
	}
	lost := 0
	for _, of := range have {
		for _, scope := range scopes {
			if of[scope] != 1 {
				lost++
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d tokens lost", lost)
	}
}
