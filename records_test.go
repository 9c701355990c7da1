package msalredis_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/embedded"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// What stands in Redis, read and changed with the sealing keys in hand.

// record is one entry of a partition as it stands in Redis.
type record struct {
	key, field, value string // as Redis has them
	stamp, expiry     int64
	msaldoc.Entry
}

const headerSize = 26 // of a value: 16 digits stamp, 10 digits expiry

var sessionForm = regexp.MustCompile(`^s[0-9]{16}`)

// headOf is what stands before what is sealed of a value: of a user's, its session too.
func headOf(value string) string {
	return value[:headerSize+len(sessionForm.FindString(value[headerSize:]))]
}

// place is the associated data of a value (record.go).
func place(key, field, header string) []byte { return []byte(key + "\x00" + field + "\x00" + header) }

// sealedAs makes the value that holds an entry at a place.
func sealedAs(t *testing.T, s serializer.Serializer, key, field, header string, plaintext []byte) string {
	t.Helper()
	sealed, err := s.Seal(plaintext, place(key, field, header))
	if err != nil {
		t.Fatal(err)
	}
	return header + string(sealed)
}

// records are all entries of all partitions. One that does not open fails the test.
func (w *world) records() []record {
	w.t.Helper()
	s, rdb := w.sealer(w.keys), w.redis.admin
	var all []record
	for _, key := range w.keysOf() {
		if !strings.HasSuffix(key, ":tokens") {
			continue
		}
		fields, err := rdb.HGetAll(context.Background(), key).Result()
		if err != nil {
			w.t.Fatal(err)
		}
		for field, value := range fields {
			if field == "v" {
				continue
			}
			r, err := openRecord(s, key, field, value)
			if err != nil {
				w.t.Fatalf("%s %s: %v", key, field, err)
			}
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b record) int { return cmp.Compare(a.key+a.field, b.key+b.field) })
	return all
}

func openRecord(s serializer.Serializer, key, field, value string) (record, error) {
	r := record{key: key, field: field, value: value}
	if len(value) < headerSize {
		return r, fmt.Errorf("%d bytes", len(value))
	}
	var err error
	if r.stamp, err = strconv.ParseInt(value[:16], 10, 64); err != nil {
		return r, err
	}
	if r.expiry, err = strconv.ParseInt(value[16:headerSize], 10, 64); err != nil {
		return r, err
	}
	plaintext, err := s.Open([]byte(value[len(headOf(value)):]), place(key, field, headOf(value)))
	if err != nil {
		return r, err
	}
	r.Entry, err = layout.DecodeEntry(plaintext)
	return r, err
}

// one is the record that all matches accept.
func one(t *testing.T, records []record, matches ...func(record) bool) record {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(records), func(r record) bool {
		return slices.ContainsFunc(matches, func(m func(record) bool) bool { return !m(r) })
	})
	if len(found) != 1 {
		t.Fatalf("%d records match, want one", len(found))
	}
	return found[0]
}

func section(s string) func(record) bool { return func(r record) bool { return r.Section == s } }

func target(scope string) func(record) bool {
	return func(r record) bool { return strings.Contains(" "+r.Target+" ", " "+scope+" ") }
}

func ofUser(u entratest.User) func(record) bool {
	return func(r record) bool { return r.HomeAccountID == u.HomeAccountID() }
}

// put writes a value over what a field holds, as nothing of the library would.
func (w *world) put(key, field, value string) {
	w.t.Helper()
	if err := w.redis.admin.HSet(context.Background(), key, field, value).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// counters is a MeterProvider that counts.
type counters struct {
	embedded.MeterProvider
	mu sync.Mutex
	n  map[string]int64
}

func newCounters() *counters { return &counters{n: map[string]int64{}} }

func (c *counters) Meter(string, ...metric.MeterOption) metric.Meter { return countersMeter{c: c} }

type countersMeter struct {
	noop.Meter
	c *counters
}

func (m countersMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return counter{c: m.c, name: name}, nil
}

type counter struct {
	noop.Int64Counter
	c    *counters
	name string
}

func (c counter) Add(_ context.Context, n int64, opts ...metric.AddOption) {
	attributes := metric.NewAddConfig(opts).Attributes()
	name := c.name + " " + attributes.Encoded(attribute.DefaultEncoder())
	canary.saw(name)
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.c.n[name] += n
}

// of is the sum of the counters whose name and attributes start so.
func (c *counters) of(start string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum int64
	for name, n := range c.n {
		if strings.HasPrefix(name, start) {
			sum += n
		}
	}
	return sum
}

const unreadable = "msalredis.records.unreadable error.type="

// journal is a log that a test reads; the canary reads it too.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	canary.saw(string(p))
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// observed is an instance with its metrics and its log.
func (w *world) observed(change ...func(*msalredis.Options)) (*instance, *counters, *journal) {
	w.t.Helper()
	metrics, log := newCounters(), &journal{}
	change = append(change, func(o *msalredis.Options) {
		o.MeterProvider = metrics
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	return w.instance(change...), metrics, log
}

// An entry that was damaged, cut off, moved, replaced by something foreign, sealed with a key that this instance does not
// have, or written by a later version is a miss: it is counted by its reason, logged without a secret, and replaced by
// the next token. The rest of its record serves.
func TestUnreadableEntryIsAMissAndTheRestServes(t *testing.T) {
	const reseal = 2 // a version that nobody knows yet
	for _, test := range []struct {
		name, reason string
		damage       func(t *testing.T, w *world, r, sibling, stranger record) string
	}{
		{"flipped bit", "corrupt", func(_ *testing.T, _ *world, r, _, _ record) string {
			b := []byte(r.value)
			b[len(b)-20] ^= 1
			return string(b)
		}},
		{"cut off", "corrupt", func(_ *testing.T, _ *world, r, _, _ record) string { return r.value[:len(r.value)-7] }},
		{"cut off within the seal's header", "corrupt", func(_ *testing.T, _ *world, r, _, _ record) string { return r.value[:len(headOf(r.value))+5] }},
		{"cut off within the digits", "malformed", func(_ *testing.T, _ *world, r, _, _ record) string { return r.value[:10] }},
		{"empty", "malformed", func(*testing.T, *world, record, record, record) string { return "" }},
		{"foreign text", "malformed", func(*testing.T, *world, record, record, record) string {
			return "hello from another program, of some length"
		}},
		{"foreign JSON behind digits", "malformed", func(_ *testing.T, _ *world, r, _, _ record) string {
			return headOf(r.value) + `{"secret":"planted"}`
		}},
		{"plain text", "malformed", func(t *testing.T, _ *world, r, _, _ record) string {
			return sealedAs(t, serializer.Plaintext(), r.key, r.field, headOf(r.value), layout.AppendEntry(nil, r.Entry))
		}},
		{"another entry under this name", "malformed", func(t *testing.T, w *world, r, sibling, _ record) string {
			return sealedAs(t, w.sealer(w.keys), r.key, r.field, headOf(r.value), layout.AppendEntry(nil, sibling.Entry))
		}},
		{"moved from another field", "moved", func(_ *testing.T, _ *world, _, sibling, _ record) string { return sibling.value }},
		{"moved from another partition", "moved", func(_ *testing.T, _ *world, _, _, stranger record) string { return stranger.value }},
		{"life prolonged", "moved", func(_ *testing.T, _ *world, r, _, _ record) string {
			return r.value[:16] + strconv.FormatInt(r.expiry+3600, 10) + r.value[headerSize:]
		}},
		{"unknown key", "unknown_key", func(t *testing.T, _ *world, r, _, _ record) string {
			return sealedAs(t, newSealer(t, generatedKey(t, "k9")), r.key, r.field, headOf(r.value), layout.AppendEntry(nil, r.Entry))
		}},
		{"newer seal", "newer_version", func(_ *testing.T, _ *world, r, _, _ record) string {
			sealed := []byte(r.value[len(headOf(r.value)):])
			sealed[7] = reseal // the checksum in bytes 3 to 6 is over everything from here
			binary.BigEndian.PutUint32(sealed[3:], crc32.Checksum(sealed[7:], crc32.MakeTable(crc32.Castagnoli)))
			return headOf(r.value) + string(sealed)
		}},
		{"newer entry", "newer_version", func(t *testing.T, w *world, r, _, _ record) string {
			b := layout.AppendEntry(nil, r.Entry)
			b[0] = reseal
			return sealedAs(t, w.sealer(w.keys), r.key, r.field, headOf(r.value), b)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := context.Background()
			w := newWorld(t)
			users := w.addUsers(2)
			first := w.instance()
			app := first.app()
			old := first.signIn(app, users[0])
			first.signIn(app, users[1], vaultScope)
			if _, err := silent(ctx, app, users[0].HomeAccountID(), vaultScope); err != nil {
				t.Fatal(err)
			}
			records := w.records()
			access := section(msaldoc.SectionAccessToken)
			r := one(t, records, access, ofUser(users[0]), target(vaultScope))
			sibling := one(t, records, access, ofUser(users[0]), target(userScope))
			stranger := one(t, records, access, ofUser(users[1]))
			first.close() // or it would put right what it knows
			w.put(r.key, r.field, test.damage(t, w, r, sibling, stranger))
			w.entra.ResetRequests()

			second, metrics, log := w.observed()
			app = second.app()
			rest, err := silent(ctx, app, users[0].HomeAccountID(), userScope)
			if err != nil {
				t.Fatalf("the rest of the record: %v", err)
			}
			if rest.AccessToken != old.AccessToken {
				t.Error("the rest of the record: another token than the stored one")
			}
			w.count(t, 0, "the rest of the record")
			renewed, err := silent(ctx, app, users[0].HomeAccountID(), vaultScope)
			if err != nil {
				t.Fatalf("the damaged token: %v", err)
			}
			w.count(t, 1, "the damaged token")
			if n := metrics.of(unreadable + test.reason); n == 0 {
				t.Errorf("nothing counted as %s: %v", test.reason, metrics.n)
			}
			if n, all := metrics.of(unreadable+test.reason), metrics.of(unreadable); n != all {
				t.Errorf("%d unreadable, of which %s: %d: %v", all, test.reason, n, metrics.n)
			}
			if text := log.String(); !strings.Contains(text, "cannot be read") {
				t.Errorf("not logged: %s", text)
			}
			for _, secret := range append(w.entra.Secrets(), r.HomeAccountID, users[0].Username) {
				if len(secret) > 12 && strings.Contains(log.String(), secret) {
					t.Errorf("the log has a secret of %d bytes", len(secret))
				}
			}

			third, metrics, _ := w.observed()
			again, err := silent(ctx, third.app(), users[0].HomeAccountID(), vaultScope)
			if err != nil {
				t.Fatal(err)
			}
			if again.AccessToken != renewed.AccessToken {
				t.Error("after the replacement: another token")
			}
			w.count(t, 1, "after the replacement")
			if n := metrics.of(unreadable); n != 0 {
				t.Errorf("%d unreadable after the replacement", n)
			}
		})
	}
}

func generatedKey(t *testing.T, id string) string {
	t.Helper()
	key, err := serializer.GenerateKey(id)
	if err != nil {
		t.Fatal(err)
	}
	return key.Export()
}

// An account's record of which one entry of each other kind is damaged still gives what is left: without its refresh
// token the access and ID token serve; without its ID token the others do, and the next refresh brings one.
func TestUnreadableRefreshOrIDTokenCostsOnlyItself(t *testing.T) {
	ctx := context.Background()
	for _, kind := range []string{msaldoc.SectionRefreshToken, msaldoc.SectionIDToken} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			u := w.addUsers(1)[0]
			first := w.instance()
			old := first.signIn(first.app(), u)
			r := one(t, w.records(), section(kind))
			w.put(r.key, r.field, r.value[:len(r.value)-1]+"!")
			w.entra.ResetRequests()

			second, metrics, _ := w.observed()
			app := second.app()
			got, err := silent(ctx, app, u.HomeAccountID())
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken != old.AccessToken {
				t.Error("the access token is another")
			}
			w.count(t, 0, "access token of a damaged record")
			if metrics.of(unreadable+"corrupt") == 0 {
				t.Error("not counted")
			}
			got, err = silent(ctx, app, u.HomeAccountID(), mailScope)
			switch kind {
			case msaldoc.SectionRefreshToken:
				if got := one(t, w.records2(r), section(msaldoc.SectionIDToken)); got.Secret == "" {
					t.Error("the ID token is gone")
				}
				if err == nil {
					t.Error("a token for other scopes came without a refresh token")
				}
				w.count(t, 0, "a refresh without refresh token")
				// The next sign-in replaces it.
				second.signIn(app, u)
				if _, err := silent(ctx, app, u.HomeAccountID(), mailScope); err != nil {
					t.Errorf("after the next sign-in: %v", err)
				}
			case msaldoc.SectionIDToken:
				if err != nil {
					t.Fatal(err)
				}
				w.count(t, 1, "refresh")
				if got.IDToken.PreferredUsername != u.Username {
					t.Error("the refresh brought no ID token")
				}
			}
			w.records() // all open again
		})
	}
}

// records2 are the records but one, which may be unreadable.
func (w *world) records2(but record) []record {
	w.t.Helper()
	s := w.sealer(w.keys)
	fields, err := w.redis.admin.HGetAll(context.Background(), but.key).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	var all []record
	for field, value := range fields {
		if field == "v" || field == but.field {
			continue
		}
		r, err := openRecord(s, but.key, field, value)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// keysLike are the keys under the prefix with an ending.
func (w *world) keysLike(ending string) []string {
	w.t.Helper()
	return slices.DeleteFunc(w.keysOf(), func(k string) bool { return !strings.HasSuffix(k, ending) })
}

// A kept answer that does not open is a miss as well: one request, which replaces it. It is an on-behalf-of token's only
// shared copy.
func TestUnreadableAnswerIsAMiss(t *testing.T) {
	ctx := context.Background()
	for name, damage := range map[string]func(string) string{
		"malformed": func(string) string { return "something else" },
		"corrupt":   func(v string) string { return v[:len(v)-3] },
		"moved":     func(v string) string { return "0" + v[1:15] + "9" + v[16:] },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := w.addUsers(1)[0]
			assertion, err := w.entra.UserToken(clientID, u.Username, "")
			if err != nil {
				t.Fatal(err)
			}
			get := func(i *instance) string {
				t.Helper()
				result, err := i.app().AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope})
				if err != nil {
					t.Fatal(err)
				}
				return result.AccessToken
			}
			get(w.instance())
			w.count(t, 1, "first")
			keys, rdb := w.keysLike(":response"), w.redis.admin
			if len(keys) != 1 {
				t.Fatalf("%d answers are kept, want one", len(keys))
			}
			value := rdb.Get(ctx, keys[0]).Val()
			if err := rdb.Set(ctx, keys[0], damage(value), redis.KeepTTL).Err(); err != nil {
				t.Fatal(err)
			}
			second, metrics, _ := w.observed()
			token := get(second)
			w.count(t, 2, "damaged answer")
			if metrics.of(unreadable+name) == 0 {
				t.Errorf("not counted: %v", metrics.n)
			}
			if get(w.instance()) != token {
				t.Error("the third instance has another token")
			}
			w.count(t, 2, "replaced answer")
		})
	}
}

// A key of another type under one of the library's names is a miss and is replaced.
func TestKeyOfAnotherTypeIsAMissAndIsReplaced(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	first := w.instance()
	first.signIn(first.app(), u)
	if _, err := first.app().AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Fatal(err)
	}
	rdb := w.redis.admin
	for _, key := range w.keysOf() {
		var err error
		switch {
		case strings.HasSuffix(key, ":tokens"):
			err = rdb.Set(ctx, key, "a string", time.Minute).Err()
		case strings.HasSuffix(key, ":response"), strings.HasSuffix(key, ":rids"):
			rdb.Del(ctx, key)
			err = rdb.RPush(ctx, key, "a list").Err()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.entra.ResetRequests()
	second := w.instance(func(o *msalredis.Options) { o.FailClosed = true }) // so that no error is passed over
	app := second.app()
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Fatal(err)
	}
	w.count(t, 1, "a foreign key")
	if _, err := silent(ctx, app, u.HomeAccountID()); err == nil {
		t.Error("a user's tokens came from nowhere")
	}
	second.signIn(app, u)
	w.entra.ResetRequests()
	third := w.instance()
	app = third.app()
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Fatal(err)
	}
	if _, err := silent(ctx, app, u.HomeAccountID()); err != nil {
		t.Error(err)
	}
	w.count(t, 0, "replaced keys")
}

// sealedWith is the id of the key that sealed a value (serializer/encrypted.go).
func sealedWith(value string) string {
	body := value[len(headOf(value))+18:]
	return body[1 : 1+body[0]]
}

// A new sealing key comes in two roll-outs: last everywhere, then first. At no moment is a token lost, the old key opens
// and the new one seals; and dropping the old key costs one request for each token that it had sealed, and no error.
func TestRotationOfSealingKeys(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	k1, k2 := w.keys, generatedKey(t, "k2")
	with := func(keys string) (*instance, confidential.Client, *counters) {
		t.Helper()
		o, metrics := options(w.prefix), newCounters()
		o.MeterProvider = metrics
		i := w.instanceOn(w.redis.admin, w.sealer(keys), o)
		return i, i.app(), metrics
	}
	get := func(app confidential.Client, scope string) {
		t.Helper()
		if _, err := app.AcquireTokenByCredential(ctx, []string{scope}); err != nil {
			t.Error(err)
		}
	}
	user := func(app confidential.Client, scope string) {
		t.Helper()
		if _, err := silent(ctx, app, u.HomeAccountID(), scope); err != nil {
			t.Error(err)
		}
	}
	const dataverse = "https://org.crm4.dynamics.com/.default"

	old, oldApp, _ := with(k1)
	old.signIn(oldApp, u)
	get(oldApp, graph)
	w.count(t, 2, "the old key alone")

	// The first roll-out: instances with and without the new key live together.
	_, bothApp, metrics := with(k1 + "," + k2)
	get(bothApp, graph)
	user(bothApp, userScope)
	w.count(t, 2, "the new key is last")
	get(bothApp, dataverse)
	get(oldApp, dataverse)
	w.count(t, 3, "what an instance with both stores, one without the new key reads")

	// The second: the new key seals, and instances of the first roll-out read it.
	_, newApp, metrics2 := with(k2 + "," + k1)
	get(newApp, graph)
	get(newApp, dataverse)
	user(newApp, userScope)
	w.count(t, 3, "the new key is first")
	user(newApp, mailScope)
	w.count(t, 4, "a new token")
	user(bothApp, mailScope)
	w.count(t, 4, "what the new key sealed, an instance of the first roll-out reads")
	for _, m := range []*counters{metrics, metrics2} {
		if n := m.of(unreadable); n != 0 {
			t.Errorf("%d values could not be read during the rotation", n)
		}
	}
	w.keys = k2 + "," + k1
	sealed := map[string]int{}
	for _, r := range w.records() {
		sealed[sealedWith(r.value)]++
		if want := "k2"; r.Section == msaldoc.SectionAccessToken && strings.Contains(r.Target, "Mail.Read") && sealedWith(r.value) != want {
			t.Errorf("a new token is sealed with %q, want %q", sealedWith(r.value), want)
		}
	}
	if sealed["k1"] == 0 || sealed["k2"] == 0 {
		t.Fatalf("sealed with %v: the test has lost its point", sealed)
	}

	// The old key is dropped too early: misses, and nothing else.
	w.keys = k2
	w.entra.ResetRequests()
	_, lastApp, metrics := with(k2)
	user(lastApp, mailScope)
	w.count(t, 0, "a token of the new key")
	get(lastApp, graph)
	w.count(t, 1, "a token of the dropped key")
	get(lastApp, graph)
	w.count(t, 1, "the token that replaced it")
	if metrics.of(unreadable+"unknown_key") == 0 {
		t.Error("values of the dropped key are not counted")
	}
	if n := metrics.of(unreadable); n != metrics.of(unreadable+"unknown_key") {
		t.Errorf("unreadable for another reason: %v", metrics.n)
	}
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

// Tokens that could not be sealed are sealed and stored when that is possible again, and one failure is logged once.
func TestTokensThatCouldNotBeSealedAreStoredLater(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	log, sealer := &journal{}, &sealingFails{Serializer: w.sealer(w.keys)}
	o := options(w.prefix)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	here := w.instanceOn(w.client(), sealer, o)
	sealer.away.Store(true)
	token := here.signIn(here.app(), u).AccessToken
	unsealed := func() float64 {
		return (&census{all: map[string]point{}}).of(t, here, "msalredis.records.unsealed", "msalredis.record=entry")
	}
	once := unsealed()
	eventually(t, "it is tried again", func() bool { return unsealed() > once+1 })
	if n := strings.Count(log.String(), "could not be sealed"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	sealer.away.Store(false)
	stored := w.fields()
	eventually(t, "the tokens get there", func() bool { return stored() > 0 })
	if must(t)(silent(ctx, w.instance().app(), u.HomeAccountID())) != token {
		t.Error("elsewhere: another token")
	}
	w.count(t, 1, "the sign-in")
}

// After every kind of flow every key expires: an app's record with its last token, a user's UserTTL after its last use,
// the rest sooner.
func TestEveryKeyHasATTL(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	users := w.addUsers(3)
	const userTTL = 2 * time.Hour
	i := w.instance(func(o *msalredis.Options) { o.UserTTL = userTTL })
	app := i.app()

	w.lasting(10 * time.Minute)
	if _, err := app.AcquireTokenByCredential(ctx, []string{"https://short.example.com/.default"}); err != nil {
		t.Fatal(err)
	}
	w.lasting(25 * time.Minute)
	long, err := app.AcquireTokenByCredential(ctx, []string{graph})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithFMIPath("a/b")); err != nil {
		t.Fatal(err)
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}, confidential.WithClaims(`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`)); err != nil {
		t.Fatal(err)
	}
	i.signIn(app, users[0])
	if _, err := silent(ctx, app, users[0].HomeAccountID(), mailScope); err != nil {
		t.Fatal(err)
	}
	assertion, err := w.entra.UserToken(clientID, users[1].Username, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope}); err != nil {
		t.Fatal(err)
	}
	pub := i.public()
	publicSignIn(t, w, pub, users[2])
	i.signIn(app, users[1])
	if err := i.tokens.RemoveAccount(ctx, users[1].HomeAccountID()); err != nil {
		t.Fatal(err)
	}
	if err := i.tokens.ForgetAppTokens(ctx, clientID, tenant, "https://short.example.com/.default"); err != nil {
		t.Fatal(err)
	}
	remove := w.entra.AddFault(entratest.Fault{Status: 429, RetryAfter: "30"})
	if _, err := app.AcquireTokenByCredential(ctx, []string{"https://throttled.example.com/.default"}); err == nil {
		t.Fatal("a throttled request succeeded")
	}
	remove()

	rdb := w.redis.admin
	kinds := map[string]int{}
	for _, key := range w.keysOf() {
		kind := key[strings.LastIndexByte(key, ':')+1:]
		kinds[kind]++
		ttl := rdb.PTTL(ctx, key).Val()
		if ttl <= 0 {
			t.Errorf("%s: no TTL", kind)
			continue
		}
		most := map[string]time.Duration{
			"tombstone": 15 * time.Minute, "pause": time.Hour, "fence": time.Hour, "lock": 5 * time.Second,
			"response": 30 * time.Minute, "tokens": userTTL, "rids": userTTL, "list": userTTL,
		}[kind]
		if most == 0 {
			t.Errorf("%s: a kind of key that nobody has described", kind)
		}
		if ttl > most {
			t.Errorf("%s: lives for %v, want at most %v", kind, ttl, most)
		}
	}
	for _, kind := range []string{"tokens", "response", "tombstone", "pause", "rids", "list"} {
		if kinds[kind] == 0 {
			t.Errorf("no key of kind %s: the test has lost its point; there are %v", kind, kinds)
		}
	}
	for _, r := range w.records() {
		ttl := rdb.PTTL(ctx, r.key).Val()
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

// publicSignIn signs a user in at a public client with a device code.
func publicSignIn(t *testing.T, w *world, c public.Client, u entratest.User) public.AuthResult {
	t.Helper()
	ctx := context.Background()
	device, err := c.AcquireTokenByDeviceCode(ctx, []string{userScope})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.entra.ApproveDevice(device.Result.UserCode, u.Username); err != nil {
		t.Fatal(err)
	}
	result, err := device.AuthenticationResult(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// A user's record lives for UserTTL after its last use: reading prolongs it, on any instance. And one that nobody uses goes.
func TestUserRecordSlides(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	users := w.addUsers(2)
	const ttl = 4 * time.Second
	short := func(o *msalredis.Options) { o.UserTTL, o.LocalTTL = ttl, 10*time.Millisecond }
	i := w.instance(short)
	app := i.app()
	i.signIn(app, users[0])
	i.signIn(app, users[1])
	records, rdb := w.records(), w.redis.admin
	used := one(t, records, section(msaldoc.SectionAccount), ofUser(users[0])).key
	unused := one(t, records, section(msaldoc.SectionAccount), ofUser(users[1])).key

	reader := w.instance(short)
	// A client of its own: the documents of the first hold both users.
	client := reader.app()
	eventually(t, "an unused record goes while a used one stays", func() bool {
		if _, err := silent(ctx, client, users[0].HomeAccountID()); err != nil {
			t.Fatalf("the used record: %v", err)
		}
		return rdb.Exists(ctx, unused).Val() == 0
	})
	if left := rdb.PTTL(ctx, used).Val(); left < ttl/2 {
		t.Errorf("the used record has %v left, want about %v", left, ttl)
	}
	w.count(t, 2, "the two sign-ins and no more")
}

// A record that nobody used for UserTTL has expired, and is not lost: an instance that knows it still neither serves it nor
// writes it back, also where a tombstone is left of a sign-out before.
func TestRecordThatExpiredUnusedIsNotWrittenBack(t *testing.T) {
	ctx := context.Background()
	for _, signedOut := range []bool{false, true} {
		t.Run(fmt.Sprintf("signed out before: %v", signedOut), func(t *testing.T) {
			w := newWorld(t)
			u := w.addUsers(1)[0]
			i := w.instance(func(o *msalredis.Options) { o.UserTTL, o.LocalTTL = 2*time.Second, 10*time.Millisecond })
			app := i.app()
			i.signIn(app, u)
			if signedOut {
				succeeds(t, i.tokens.RemoveAccount(ctx, u.HomeAccountID()))
				i.signIn(app, u)
			}
			record := one(t, w.records(), section(msaldoc.SectionAccount), ofUser(u)).key
			eventually(t, "the record expires", func() bool { return w.redis.admin.Exists(ctx, record).Val() == 0 })
			w.entra.ResetRequests()
			c := &census{all: map[string]point{}}
			for range 2 {
				if _, err := silent(ctx, app, u.HomeAccountID()); err == nil {
					t.Error("a record that expired unused serves")
				}
			}
			c.is(t, i, 0, "msalredis.writes", "msalredis.outcome=restored")
			w.count(t, 0, "nobody is signed in")
		})
	}
}

// An account of a public client stays on the list of accounts for UserTTL after its last refresh, however long ago its sign-in
// was. One that nobody uses leaves it, and a user who never was on it does not come onto it.
func TestListedAccountSlides(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	users := w.addUsers(4)
	used, unused, another, confidentials := users[0], users[1], users[2], users[3]
	const ttl = 4 * time.Second
	w.lasting(500 * time.Millisecond)
	i := w.instance(func(o *msalredis.Options) { o.UserTTL = ttl })
	app, client, web := i.public(), i.public(), i.app()
	publicSignIn(t, w, app, unused)
	account := publicSignIn(t, w, client, used).Account
	i.signIn(web, confidentials)
	for began := time.Now(); time.Since(began) < ttl+time.Second; {
		if _, err := client.AcquireTokenSilent(ctx, []string{userScope}, public.WithSilentAccount(account)); err != nil {
			t.Fatal(err)
		}
		must(t)(silent(ctx, web, confidentials.HomeAccountID()))
		waitUntil(time.Now().Add(200 * time.Millisecond))
	}
	if left := w.redis.admin.PTTL(ctx, w.prefix+":v1:{accounts}:list").Val(); left < ttl/2 {
		t.Errorf("the list has %v left, want about %v", left, ttl)
	}
	publicSignIn(t, w, app, another) // whoever is signed in next takes off the list what has expired
	var listed []string
	accounts, err := w.instance().public().Accounts(ctx)
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
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	i := w.instance()
	app := i.app()
	i.signIn(app, u)
	// MSAL keeps no token of so short a life, but the gate stores what a refresh brings.
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	const filesScope = "https://graph.microsoft.com/Files.Read"
	short, err := silent(ctx, app, u.HomeAccountID(), filesScope)
	if err != nil {
		t.Fatal(err)
	}
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = time.Hour })
	one(t, w.records(), section(msaldoc.SectionAccessToken), ofUser(u), target(filesScope))
	waitUntil(short.ExpiresOn.Add(1500 * time.Millisecond))
	if _, err := silent(ctx, app, u.HomeAccountID(), mailScope); err != nil {
		t.Fatal(err)
	}
	if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.records() {
		if r.Section == msaldoc.SectionAccessToken && r.ExpiresOn <= time.Now().Unix() {
			t.Errorf("an access token that expired %d s ago is still in a record", time.Now().Unix()-r.ExpiresOn)
		}
	}
	records := w.records()
	one(t, records, section(msaldoc.SectionAccessToken), ofUser(u), target(mailScope))
	one(t, records, section(msaldoc.SectionRefreshToken), ofUser(u))
	one(t, records, section(msaldoc.SectionAccount), ofUser(u))
}

// owner is whose record an entry must be in: the account's, or the app's in a tenant.
func owner(r record) string {
	if r.HomeAccountID != "" {
		return r.HomeAccountID
	}
	return "app in " + r.Realm
}

// checkOwners checks that no record has entries of two partitions, and that none is in two records.
func checkOwners(t *testing.T, records []record) (owners map[string]string) {
	t.Helper()
	owners = map[string]string{}
	keys := map[string]string{}
	for _, r := range records {
		if have, ok := owners[r.key]; ok && have != owner(r) {
			t.Errorf("a record has entries of two partitions: %s of one", r.Section)
		}
		owners[r.key] = owner(r)
		if have, ok := keys[owner(r)]; ok && have != r.key {
			t.Errorf("a partition is in two records: %s", r.Section)
		}
		keys[owner(r)] = r.key
		if r.Section == msaldoc.SectionAccessToken && r.HomeAccountID == "" && r.Realm == "" {
			t.Error("an access token of nobody")
		}
	}
	return owners
}

// No record has another partition's entries, whatever the order of misses and hits of 20 tenants and 20 users on one
// client of each of two instances.
func TestNoRecordHasAnotherPartitionsEntries(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	users := w.addUsers(20)
	a, b := w.instance(), w.instance()
	apps := []confidential.Client{a.app(), b.app()}
	for n, u := range users {
		[]*instance{a, b}[n%2].signIn(apps[n%2], u)
	}
	type step struct {
		app, n int
		scope  string
	}
	var steps []step
	for app := range apps {
		for n := range 20 {
			for _, scope := range []string{graph, "https://org.crm4.dynamics.com/.default"} {
				steps = append(steps, step{app, n, scope})
			}
			for _, scope := range []string{userScope, mailScope} {
				steps = append(steps, step{app, 20 + n, scope})
			}
		}
	}
	steps = append(steps, steps...)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	const goroutines = 8
	errs := parallel(goroutines, func(g int) error {
		for i := g; i < len(steps); i += goroutines {
			s := steps[i]
			if s.n >= 20 {
				if _, err := silent(ctx, apps[s.app], users[s.n-20].HomeAccountID(), s.scope); err != nil {
					return err
				}
				continue
			}
			other := fmt.Sprintf("%08d-1111-4222-8333-00000000000d", s.n)
			if _, err := apps[s.app].AcquireTokenByCredential(ctx, []string{s.scope}, confidential.WithTenantID(other)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		t.Error(err)
	}
	records := w.records()
	owners := checkOwners(t, records)
	if len(owners) != 40 {
		t.Errorf("%d records, want 40", len(owners))
	}
	access := map[string]int{}
	for _, r := range records {
		if r.Section == msaldoc.SectionAccessToken {
			access[r.key]++
		}
	}
	for key, who := range owners {
		if access[key] != 2 {
			t.Errorf("%d access tokens of %.20s, want one for each scope", access[key], who)
		}
	}
	w.count(t, 20+40+20, "sign-ins, two scopes of each tenant, one more of each user")
}

// On-behalf-of tokens are in no record: MSAL exports, under an assertion's key, what the client's users have. Not even a
// record of the assertion's name appears.
func TestAssertionKeysNeverHoldOtherUsersEntries(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	users := w.addUsers(6)
	a, b := w.instance(), w.instance()
	appA, appB := a.app(), b.app()
	for _, u := range users[:3] {
		a.signIn(appA, u)
	}
	before := len(w.keysLike(":tokens"))
	var forbidden []string
	for _, u := range users {
		assertion, err := w.entra.UserToken(clientID, u.Username, "")
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256([]byte(assertion))
		for _, e := range []*base64.Encoding{base64.URLEncoding, base64.RawURLEncoding, base64.StdEncoding} {
			forbidden = append(forbidden, e.EncodeToString(hash[:]))
		}
		for _, app := range []confidential.Client{appA, appB} {
			if _, err := app.AcquireTokenOnBehalfOf(ctx, assertion, []string{userScope}); err != nil {
				t.Fatal(err)
			}
			if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
				t.Fatal(err)
			}
			if _, err := silent(ctx, app, users[0].HomeAccountID()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if after := len(w.keysLike(":tokens")); after != before+1 {
		t.Errorf("%d records after on-behalf-of, want %d and the app's", after, before)
	}
	records := w.records()
	checkOwners(t, records)
	for _, r := range records {
		if slices.ContainsFunc(users[3:], func(u entratest.User) bool { return r.HomeAccountID == u.HomeAccountID() }) {
			t.Errorf("a %s of a user who never signed in here is in a record", r.Section)
		}
	}
	for _, key := range w.keysOf() {
		for _, hash := range forbidden {
			// Names are hashed by a scheme of their own; MSAL's never shows.
			if strings.Contains(key, hash) {
				t.Error("an assertion's hash is in the name of a key")
			}
		}
	}
	// 3 sign-ins, an app's token, and one on-behalf-of request per assertion.
	w.count(t, 3+1+6, "on-behalf-of beside users and app")
}

// Members that this MSAL does not know stay in an entry that another MSAL wrote, whatever is written beside it, and
// reach MSAL and come back.
func TestUnknownMembersOfEntriesSurvive(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	u := w.addUsers(1)[0]
	first := w.instance()
	first.signIn(first.app(), u)
	s := w.sealer(w.keys)
	changed := map[string]bool{}
	for _, r := range w.records() {
		if r.Section == msaldoc.SectionIDToken || r.Section == msaldoc.SectionAccount {
			continue // MSAL itself writes these anew with each refresh
		}
		raw := append(bytes.TrimSuffix(slices.Clone(r.Raw), []byte("}")), `,"from_another_msal":{"kept":[1,"x"]}}`...)
		e, err := msaldoc.NewEntry(r.Section, r.Key, raw)
		if err != nil {
			t.Fatal(err)
		}
		w.put(r.key, r.field, sealedAs(t, s, r.key, r.field, headOf(r.value), layout.AppendEntry(nil, e)))
		changed[r.field] = true
	}
	if len(changed) < 2 {
		t.Fatalf("%d entries changed", len(changed))
	}
	w.entra.SetBehavior(func(b *entratest.Behavior) { b.OmitRefreshToken = true }) // so that the old one stays
	second := w.instance()
	app := second.app()
	if _, err := silent(ctx, app, u.HomeAccountID(), mailScope); err != nil {
		t.Fatal(err)
	}
	if _, err := silent(ctx, app, u.HomeAccountID(), userScope); err != nil {
		t.Fatal(err)
	}
	records := w.records()
	one(t, records, section(msaldoc.SectionAccessToken), target(mailScope))
	for _, r := range records {
		if changed[r.field] && !bytes.Contains(r.Raw, []byte(`"from_another_msal":{"kept":[1,"x"]}`)) {
			t.Errorf("%s: the unknown member is gone", r.Section)
		}
	}
}

// Two processes that store different scopes of one partition at the same moment, 200 times, lose nothing: for apps, whose
// requests the emulator lets go on only together; and for users, whose refreshes take turns.
func TestConcurrentStoresOfOnePartitionLoseNothing(t *testing.T) {
	const rounds = 200
	const other = "https://org.crm4.dynamics.com/.default"
	t.Run("app", func(t *testing.T) {
		w := newWorld(t)
		ps := w.processes(2)
		var mu sync.Mutex
		meet := map[string]chan struct{}{}
		remove := w.entra.OnTokenRequest(func(r entratest.Request) {
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
			ps[0].send(order{Op: "app", Tenant: name, Scopes: []string{graph}})
			ps[1].send(order{Op: "app", Tenant: name, Scopes: []string{other}})
			for _, p := range ps {
				for _, e := range p.receive().Errors {
					t.Fatal(e)
				}
			}
		}
		w.count(t, 2*rounds, "two scopes of each tenant")
		if n := len(w.entra.Concurrent()); n < rounds {
			t.Errorf("%d pairs of requests met, want %d", n, rounds)
		}
		checkScopes(t, w.records(), rounds, graph, other)
	})
	t.Run("user", func(t *testing.T) {
		w := newWorld(t)
		users := w.addUsers(rounds)
		i := w.instance()
		app := i.app()
		for _, u := range users {
			i.signIn(app, u, "https://graph.microsoft.com/Files.Read")
		}
		ps := w.processes(2)
		for _, u := range users {
			ps[0].send(order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{vaultScope}})
			ps[1].send(order{Op: "silent", Account: u.HomeAccountID(), Scopes: []string{crmScope}})
			for _, p := range ps {
				for _, e := range p.receive().Errors {
					t.Fatal(e)
				}
			}
		}
		w.count(t, 3*rounds, "a sign-in and two scopes of each user")
		checkScopes(t, w.records(), rounds, vaultScope, crmScope, "https://graph.microsoft.com/Files.Read")
	})
}

// checkScopes checks that each of n records has one access token for each scope.
func checkScopes(t *testing.T, records []record, n int, scopes ...string) {
	t.Helper()
	checkOwners(t, records)
	have := map[string]map[string]int{}
	for _, r := range records {
		if r.Section != msaldoc.SectionAccessToken {
			continue
		}
		if have[r.key] == nil {
			have[r.key] = map[string]int{}
		}
		for _, scope := range scopes {
			if target(scope)(r) {
				have[r.key][scope]++
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
