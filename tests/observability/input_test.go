package observability_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/azcred"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/msalredisotel"
	"github.com/msal-redis/msal-redis-go/serializer"
	"github.com/msal-redis/msal-redis-go/tests/harness"
)

// New refuses what it cannot work with, and its error names what to change.
func TestNewRefusesBadInput(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for name, test := range map[string]struct {
		rdb  redis.UniversalClient
		s    serializer.Serializer
		o    *msalredis.Options
		says string
	}{
		"no client":         {nil, serializer.Plaintext(), nil, "client"},
		"a typed nil":       {(*redis.Client)(nil), serializer.Plaintext(), nil, "client"},
		"a Ring":            {ring, serializer.Plaintext(), nil, "redis.Ring"},
		"no serializer":     {rdb, nil, nil, "serializer"},
		"negative LocalTTL": {rdb, serializer.Plaintext(), &msalredis.Options{LocalTTL: -1}, "LocalTTL"},
		"negative LockTTL":  {rdb, serializer.Plaintext(), &msalredis.Options{LockTTL: -time.Second}, "LockTTL"},
		"negative timeout":  {rdb, serializer.Plaintext(), &msalredis.Options{OpTimeout: -1}, "OpTimeout"},
		"negative UserTTL":  {rdb, serializer.Plaintext(), &msalredis.Options{UserTTL: -1}, "UserTTL"},
		"negative memory":   {rdb, serializer.Plaintext(), &msalredis.Options{LocalBytes: -1}, "LocalBytes"},
		"RefreshAt 1":       {rdb, serializer.Plaintext(), &msalredis.Options{RefreshAt: 1}, "RefreshAt"},
		"RefreshAt below 0": {rdb, serializer.Plaintext(), &msalredis.Options{RefreshAt: -0.1}, "RefreshAt"},
		"nil Telemetry": {rdb, serializer.Plaintext(), &msalredis.Options{Telemetry: (*msalredisotel.Telemetry)(nil)},
			"Options.Telemetry"},
		"RefreshAt NaN": {rdb, serializer.Plaintext(), &msalredis.Options{RefreshAt: math.NaN()}, "RefreshAt"},
		"braces":        {rdb, serializer.Plaintext(), &msalredis.Options{Prefix: "a{b}"}, "Prefix"},
		"a space":       {rdb, serializer.Plaintext(), &msalredis.Options{Prefix: "a b"}, "Prefix"},
	} {
		c, err := msalredis.New(test.rdb, test.s, test.o)
		if err == nil {
			c.Close()
			t.Errorf("%s: no error", name)
		} else if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %q does not name %s", name, err, test.says)
		}
		harness.Canary.SawError(err)
	}
}

// A closed Cache says so, and empty names are refused.
func TestClosedCacheAndEmptyNames(t *testing.T) {
	w := harness.NewWorld(t)
	i := w.Instance()
	ctx := context.Background()
	if err := i.Tokens.RemoveAccount(ctx, ""); err == nil {
		t.Error("RemoveAccount of nobody succeeds")
	}
	if err := i.Tokens.ForgetAppTokens(ctx, harness.ClientID, ""); err == nil {
		t.Error("ForgetAppTokens without a tenant succeeds")
	}
	cred, err := confidential.NewCredFromSecret("secret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Tokens.NewConfidential("https://login.microsoftonline.com/"+harness.Tenant, "", cred); err == nil ||
		!strings.Contains(err.Error(), "client id is empty") {
		t.Errorf("NewConfidential without a client id: %v", err)
	}
	if _, err := i.Tokens.NewPublic(""); err == nil || !strings.Contains(err.Error(), "client id is empty") {
		t.Errorf("NewPublic without a client id: %v", err)
	}
	if _, err := azcred.New("https://login.microsoftonline.com/"+harness.Tenant, "", cred, i.Tokens, nil); err == nil ||
		!strings.Contains(err.Error(), "client id is empty") {
		t.Errorf("azcred.New without a client id: %v", err)
	}
	app := i.App()
	i.Close()
	if _, err := app.AcquireTokenByCredential(ctx, []string{harness.GraphScope}); !errors.Is(err, msalredis.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
