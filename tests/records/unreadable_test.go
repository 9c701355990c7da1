package records_test

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

const unreadable = "msalredis.records.unreadable error.type="

// An entry that was damaged, cut off, moved, replaced by something foreign, sealed with a key that this instance does
// not have, or written by a later version is a miss: it is counted by its reason, logged without a secret, and replaced
// by the next token. The rest of its record serves.
func TestUnreadableEntryIsAMissAndTheRestServes(t *testing.T) {
	const reseal = 2 // a version that nobody knows yet
	for _, test := range []struct {
		name, reason string
		damage       func(t *testing.T, w *harness.World, r, sibling, stranger harness.Record) string
	}{
		{"flipped bit", "corrupt", func(_ *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			b := []byte(r.Value)
			b[len(b)-20] ^= 1
			return string(b)
		}},
		{"cut off", "corrupt", func(_ *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			return r.Value[:len(r.Value)-7]
		}},
		{"cut off within the seal's header", "corrupt", func(_ *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			return r.Value[:len(harness.HeadOf(r.Value))+5]
		}},
		{"cut off within the digits", "malformed", func(_ *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			return r.Value[:10]
		}},
		{"empty", "malformed", func(_ *testing.T, _ *harness.World, _, _, _ harness.Record) string { return "" }},
		{"foreign text", "malformed", func(_ *testing.T, _ *harness.World, _, _, _ harness.Record) string {
			return "hello from another program, of some length"
		}},
		{"foreign JSON behind digits", "malformed", func(_ *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			return harness.HeadOf(r.Value) + `{"secret":"planted"}`
		}},
		{"plain text", "malformed", func(t *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			return sealedAs(t, serializer.Plaintext(), r.RedisKey, r.Field, harness.HeadOf(r.Value),
				layout.AppendEntry(nil, r.Entry))
		}},
		{"another entry under this name", "malformed",
			func(t *testing.T, w *harness.World, r, sibling, _ harness.Record) string {
				return sealedAs(t, w.Sealer(w.Keys), r.RedisKey, r.Field, harness.HeadOf(r.Value),
					layout.AppendEntry(nil, sibling.Entry))
			}},
		{"moved from another field", "moved", func(_ *testing.T, _ *harness.World, _, sibling, _ harness.Record) string {
			return sibling.Value
		}},
		{"moved from another partition", "moved", func(_ *testing.T, _ *harness.World, _, _, stranger harness.Record) string {
			return stranger.Value
		}},
		{"life prolonged", "moved", func(_ *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			return r.Value[:16] + strconv.FormatInt(r.Expiry+3600, 10) + r.Value[harness.HeaderSize:]
		}},
		{"unknown key", "unknown_key", func(t *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			return sealedAs(t, harness.NewSealer(t, harness.GeneratedKey(t, "k9")), r.RedisKey, r.Field,
				harness.HeadOf(r.Value), layout.AppendEntry(nil, r.Entry))
		}},
		{"newer seal", "newer_version", func(_ *testing.T, _ *harness.World, r, _, _ harness.Record) string {
			sealed := []byte(r.Value[len(harness.HeadOf(r.Value)):])
			sealed[7] = reseal // the checksum in bytes 3 to 6 is over everything from here
			binary.BigEndian.PutUint32(sealed[3:], crc32.Checksum(sealed[7:], crc32.MakeTable(crc32.Castagnoli)))
			return harness.HeadOf(r.Value) + string(sealed)
		}},
		{"newer entry", "newer_version", func(t *testing.T, w *harness.World, r, _, _ harness.Record) string {
			b := layout.AppendEntry(nil, r.Entry)
			b[0] = reseal
			return sealedAs(t, w.Sealer(w.Keys), r.RedisKey, r.Field, harness.HeadOf(r.Value), b)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := context.Background()
			w := harness.NewWorld(t)
			users := w.AddUsers(2)
			first := w.Instance()
			app := first.App()
			old := first.SignIn(app, users[0])
			first.SignIn(app, users[1], harness.VaultScope)
			if _, err := harness.Silent(ctx, app, users[0].HomeAccountID(), harness.VaultScope); err != nil {
				t.Fatal(err)
			}
			records := w.Records()
			access := harness.InSection(msaldoc.SectionAccessToken)
			r := harness.OneRecord(t, records, access, harness.OfUser(users[0]), target(harness.VaultScope))
			sibling := harness.OneRecord(t, records, access, harness.OfUser(users[0]), target(harness.UserScope))
			stranger := harness.OneRecord(t, records, access, harness.OfUser(users[1]))
			first.Close() // or it would put right what it knows
			w.Put(r.RedisKey, r.Field, test.damage(t, w, r, sibling, stranger))
			w.Entra.ResetRequests()

			second, metrics, log := observed(w)
			app = second.App()
			rest, err := harness.Silent(ctx, app, users[0].HomeAccountID(), harness.UserScope)
			if err != nil {
				t.Fatalf("the rest of the record: %v", err)
			}
			if rest.AccessToken != old.AccessToken {
				t.Error("the rest of the record: another token than the stored one")
			}
			w.Count(t, 0, "the rest of the record")
			renewed, err := harness.Silent(ctx, app, users[0].HomeAccountID(), harness.VaultScope)
			if err != nil {
				t.Fatalf("the damaged token: %v", err)
			}
			w.Count(t, 1, "the damaged token")
			if n := metrics.of(unreadable + test.reason); n == 0 {
				t.Errorf("nothing counted as %s: %v", test.reason, metrics.n)
			}
			if n, all := metrics.of(unreadable+test.reason), metrics.of(unreadable); n != all {
				t.Errorf("%d unreadable, of which %s: %d: %v", all, test.reason, n, metrics.n)
			}
			if text := log.String(); !strings.Contains(text, "cannot be read") {
				t.Errorf("not logged: %s", text)
			}
			for _, secret := range append(w.Entra.Secrets(), r.HomeAccountID, users[0].Username) {
				if len(secret) > 12 && strings.Contains(log.String(), secret) {
					t.Errorf("the log has a secret of %d bytes", len(secret))
				}
			}

			// A value that says to be of a later sign-in is found in the way by the write, and removed behind the call.
			harness.Eventually(t, "the entry is readable again", func() bool {
				value, err := w.Redis.Admin.HGet(ctx, r.RedisKey, r.Field).Result()
				if err != nil {
					return false
				}
				_, err = harness.OpenRecord(w.Sealer(w.Keys), r.RedisKey, r.Field, value)
				return err == nil
			})
			third, metrics, _ := observed(w)
			again, err := harness.Silent(ctx, third.App(), users[0].HomeAccountID(), harness.VaultScope)
			if err != nil {
				t.Fatal(err)
			}
			if again.AccessToken != renewed.AccessToken {
				t.Error("after the replacement: another token")
			}
			w.Count(t, 1, "after the replacement")
			if n := metrics.of(unreadable); n != 0 {
				t.Errorf("%d unreadable after the replacement", n)
			}
		})
	}
}

// An account's record of which one entry of each other kind is damaged still gives what is left: without its refresh
// token the access and ID token serve; without its ID token the others do, and the next refresh brings one.
func TestUnreadableRefreshOrIDTokenCostsOnlyItself(t *testing.T) {
	ctx := context.Background()
	for _, kind := range []string{msaldoc.SectionRefreshToken, msaldoc.SectionIDToken} {
		t.Run(kind, func(t *testing.T) {
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			first := w.Instance()
			old := first.SignIn(first.App(), u)
			r := harness.OneRecord(t, w.Records(), harness.InSection(kind))
			damaged := []byte(r.Value)
			damaged[len(damaged)-1] ^= 1
			w.Put(r.RedisKey, r.Field, string(damaged))
			w.Entra.ResetRequests()

			second, metrics, _ := observed(w)
			app := second.App()
			got, err := harness.Silent(ctx, app, u.HomeAccountID())
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken != old.AccessToken {
				t.Error("the access token is another")
			}
			w.Count(t, 0, "access token of a damaged record")
			if metrics.of(unreadable+"corrupt") == 0 {
				t.Error("not counted")
			}
			got, err = harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope)
			switch kind {
			case msaldoc.SectionRefreshToken:
				if got := harness.OneRecord(t, records2(w, r), harness.InSection(msaldoc.SectionIDToken)); got.Secret == "" {
					t.Error("the ID token is gone")
				}
				if err == nil {
					t.Error("a token for other scopes came without a refresh token")
				}
				w.Count(t, 0, "a refresh without refresh token")
				// The next sign-in replaces it.
				second.SignIn(app, u)
				if _, err := harness.Silent(ctx, app, u.HomeAccountID(), harness.MailScope); err != nil {
					t.Errorf("after the next sign-in: %v", err)
				}
			case msaldoc.SectionIDToken:
				if err != nil {
					t.Fatal(err)
				}
				w.Count(t, 1, "refresh")
				if got.IDToken.PreferredUsername != u.Username {
					t.Error("the refresh brought no ID token")
				}
			}
			w.Records() // all open again
		})
	}
}

// A kept answer that does not open is a miss as well: one request, which replaces it. It is an on-behalf-of token's
// only shared copy.
func TestUnreadableAnswerIsAMiss(t *testing.T) {
	ctx := context.Background()
	for name, damage := range map[string]func(string) string{
		"malformed": func(string) string { return "something else" },
		"corrupt":   func(v string) string { return v[:len(v)-3] },
		"moved":     func(v string) string { return "0" + v[1:15] + "9" + v[16:] },
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewWorld(t)
			u := w.AddUsers(1)[0]
			assertion, err := w.Entra.UserToken(harness.ClientID, u.Username, "")
			if err != nil {
				t.Fatal(err)
			}
			get := func(i *harness.Instance) string {
				t.Helper()
				result, err := i.App().AcquireTokenOnBehalfOf(ctx, assertion, []string{harness.UserScope})
				if err != nil {
					t.Fatal(err)
				}
				return result.AccessToken
			}
			get(w.Instance())
			w.Count(t, 1, "first")
			keys, rdb := w.KeysLike(":response"), w.Redis.Admin
			if len(keys) != 1 {
				t.Fatalf("%d answers are kept, want one", len(keys))
			}
			value := rdb.Get(ctx, keys[0]).Val()
			if err := rdb.Set(ctx, keys[0], damage(value), redis.KeepTTL).Err(); err != nil {
				t.Fatal(err)
			}
			second, metrics, _ := observed(w)
			token := get(second)
			w.Count(t, 2, "damaged answer")
			if metrics.of(unreadable+name) == 0 {
				t.Errorf("not counted: %v", metrics.n)
			}
			if get(w.Instance()) != token {
				t.Error("the third instance has another token")
			}
			w.Count(t, 2, "replaced answer")
		})
	}
}

// A key of another type under one of the library's names is a miss and is replaced.
func TestKeyOfAnotherTypeIsAMissAndIsReplaced(t *testing.T) {
	ctx := context.Background()
	w := harness.NewWorld(t)
	u := w.AddUsers(1)[0]
	first := w.Instance()
	first.SignIn(first.App(), u)
	if _, err := first.App().AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
		t.Fatal(err)
	}
	rdb := w.Redis.Admin
	for _, key := range w.KeysOf() {
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
	w.Entra.ResetRequests()
	second := w.Instance(func(o *msalredis.Options) { o.FailClosed = true }) // so that no error is passed over
	app := second.App()
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
		t.Fatal(err)
	}
	w.Count(t, 1, "a foreign key")
	if _, err := harness.Silent(ctx, app, u.HomeAccountID()); err == nil {
		t.Error("a user's tokens came from nowhere")
	}
	second.SignIn(app, u)
	w.Entra.ResetRequests()
	third := w.Instance()
	app = third.App()
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); err != nil {
		t.Fatal(err)
	}
	if _, err := harness.Silent(ctx, app, u.HomeAccountID()); err != nil {
		t.Error(err)
	}
	w.Count(t, 0, "replaced keys")
}
