// Package bench compares this library with what a service would otherwise do, on a real Redis, in one run.
package bench

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
)

const (
	clientID = "11111111-aaaa-4bbb-8ccc-000000000001"
	secret   = "the-client's-secret"
	graph    = "https://graph.microsoft.com/.default"
)

// naive is the accessor that one writes first: GET and SET of the whole document.
type naive struct{ rdb *redis.Client }

func (n naive) Replace(ctx context.Context, u cache.Unmarshaler, h cache.ReplaceHints) error {
	data, err := n.rdb.Get(ctx, h.PartitionKey).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	return u.Unmarshal(data)
}

func (n naive) Export(ctx context.Context, m cache.Marshaler, h cache.ExportHints) error {
	data, err := m.Marshal()
	if err != nil {
		return err
	}
	return n.rdb.Set(ctx, h.PartitionKey, data, 0).Err()
}

// BenchmarkHit is a call for an app's token that is cached.
func BenchmarkHit(b *testing.B) {
	rdb := redistest.Start(b).Client()
	entra, err := entratest.NewServer(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { entra.Close() })
	entra.AddApp(entratest.App{ClientID: clientID, Secret: secret})
	key, err := serializer.GenerateKey("k")
	if err != nil {
		b.Fatal(err)
	}
	sealer, err := serializer.NewEncrypted(key)
	if err != nil {
		b.Fatal(err)
	}
	tokens, err := msalredis.New(rdb, sealer, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tokens.Close() })
	gate := &http.Client{Transport: tokens.Transport(entra.Transport())}
	for _, with := range []struct {
		name     string
		accessor cache.ExportReplace
		client   *http.Client
	}{{"MSAL in memory", nil, entra.HTTPClient()}, {"naive GET and SET", naive{rdb}, entra.HTTPClient()}, {"this library", tokens, gate}} {
		b.Run(with.name, func(b *testing.B) {
			cred, err := confidential.NewCredFromSecret(secret)
			if err != nil {
				b.Fatal(err)
			}
			opts := []confidential.Option{confidential.WithHTTPClient(with.client)}
			if with.accessor != nil {
				opts = append(opts, confidential.WithCache(with.accessor))
			}
			app, err := confidential.New(entra.Authority(entratest.DefaultTenant), clientID, cred, opts...)
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			call := func() {
				if _, err := app.AcquireTokenByCredential(ctx, []string{graph}); err != nil {
					b.Fatal(err)
				}
			}
			call()
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}
