package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// Moving costs nobody a token request or a sign-in.
func TestMigratingCostsNoTokenRequest(t *testing.T) {
	t.Parallel()
	redistest.ByOneAddress(t, func(t *testing.T, url string) {
		var out strings.Builder
		if err := run(t.Context(), url, &out); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 4 {
			t.Fatalf("%d steps:\n%s", len(lines), &out)
		}
		for _, line := range lines {
			if !strings.HasSuffix(line, " 2 token requests so far") {
				t.Errorf("the two before the move are all there should be: %s", line)
			}
		}
	})
}

// counting are old records that say how often they were asked for.
type counting struct {
	record string
	loads  int
}

func (c *counting) load(context.Context, string) ([]byte, error) {
	c.loads++
	return []byte(c.record), nil
}

func (c *counting) remove(context.Context, string) error { return nil }

// An old record never replaces what the shared cache has, and what an accessor mixed into it of others stays out.
// Nothing is logged: a user's record that holds an app's token as well is no sign of trouble.
func TestOldRecordsDoNotReplaceNewOnes(t *testing.T) {
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	key, err := serializer.GenerateKey("k")
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	t.Cleanup(func() {
		if log.Len() > 0 {
			t.Errorf("it logs %s", &log)
		}
	})
	record := func(secret string) string {
		rt := func(home string) string {
			return `"` + home + `-login-refreshtoken-app":{"home_account_id":"` + home + `","environment":"login",` +
				`"credential_type":"RefreshToken","client_id":"app","secret":"` + secret + `"}`
		}
		return `{"RefreshToken":{` + rt("ada.contoso") + `,` + rt("eve.contoso") + `},` +
			`"AccessToken":{"-login-accesstoken-app-contoso-s":{"home_account_id":"","environment":"login","realm":"contoso",` +
			`"credential_type":"AccessToken","client_id":"app","secret":"the app's",` +
			`"target":"s","cached_at":"1","expires_on":"32503680000"}}}`
	}
	// Each process has a Cache of its own.
	process := func(secret string) (*importing, *counting) {
		tokens, err := msalredis.New(rdb, sealer, &msalredis.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tokens.Close() })
		old := &counting{record: record(secret)}
		return &importing{Cache: tokens, old: old}, old
	}
	read := func(i *importing) string {
		var d document
		if err := i.Replace(t.Context(), &d, cache.ReplaceHints{PartitionKey: "ada.contoso"}); err != nil {
			t.Fatal(err)
		}
		return string(d.data)
	}

	first, old := process("older")
	for range 2 {
		if got := read(first); !strings.Contains(got, "older") || strings.Contains(got, "eve") ||
			strings.Contains(got, "the app's") {
			t.Errorf("the first process reads %s", got)
		}
	}
	if old.loads != 1 {
		t.Errorf("the old record was read %d times", old.loads)
	}
	second, old := process("oldest")
	if got := read(second); strings.Contains(got, "oldest") || !strings.Contains(got, "older") {
		t.Errorf("the second process reads %s", got)
	}
	if old.loads != 0 {
		t.Error("the old record was read, although the shared cache has one")
	}
}
