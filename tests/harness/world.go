package harness

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// World is a Redis, an Entra ID and what their clients share.
type World struct {
	T      *testing.T
	Redis  *Deployment
	Entra  *entratest.Server
	Prefix string
	Keys   string // sealing keys, as text
}

// NewWorld has a Redis of the chosen topology, which other tests may use too.
func NewWorld(t *testing.T) *World {
	t.Helper()
	return WorldOn(t, begin(t, false))
}

// Breakable is a world whose Redis is its own: the test kills it, or makes it hang, refuse writes or forget.
func Breakable(t *testing.T, opts ...redistest.Option) *World {
	t.Helper()
	return WorldOn(t, begin(t, true, opts...))
}

// WorldOn is a world on a Redis that is there already; nil: one that the world's helpers do not know.
func WorldOn(t *testing.T, d *Deployment) *World {
	t.Helper()
	w := &World{T: t, Redis: d, Prefix: redistest.Prefix(t)}
	if d != nil && d.prefix != "" {
		w.Prefix = d.prefix + ":" + w.Prefix
	}
	entra, err := entratest.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Entra = entra
	entra.SetBehavior(func(b *entratest.Behavior) {
		b.VaryLifetimes = lifetimeSeed
		b.PlainThrottling = plainThrottling
	})
	t.Cleanup(func() {
		Canary.Issued(entra.Secrets())
		entra.Close()
		if w.Redis != nil {
			w.forbidRecords()
		}
	})
	entra.OnTokenRequest(Canary.Named)
	entra.AddApp(entratest.App{ClientID: ClientID, Secret: ClientSecret})
	entra.AddApp(entratest.App{ClientID: PublicID, Public: true})
	key, err := serializer.GenerateKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	w.Keys = key.Export()
	Canary.Forbid("sealing key", strings.TrimPrefix(w.Keys, "k1:"))
	return w
}

func NewSealer(t testing.TB, text string) serializer.Serializer {
	t.Helper()
	keys, err := serializer.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := serializer.NewEncrypted(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func GeneratedKey(t *testing.T, id string) string {
	t.Helper()
	key, err := serializer.GenerateKey(id)
	if err != nil {
		t.Fatal(err)
	}
	return key.Export()
}

func (w *World) Sealer(keys string) serializer.Serializer {
	w.T.Helper()
	return NewSealer(w.T, keys)
}

// Lasting makes the emulator's tokens usable by MSAL for d: it refuses their last five minutes.
func (w *World) Lasting(d time.Duration) {
	w.Entra.SetBehavior(func(b *entratest.Behavior) { b.AccessTokenLifetime = 5*time.Minute + d })
}

// Expire lets what was acquired before run out, and gives what comes next a long life.
func (w *World) Expire(usable time.Duration) {
	WaitUntil(time.Now().Add(usable + time.Second))
	w.Entra.SetBehavior(func(b *entratest.Behavior) {
		b.AccessTokenLifetime = time.Hour
		b.Latency = 300 * time.Millisecond
	})
	w.Entra.ResetRequests()
}

// Fill stores accounts of a client, as they come from a file of MSAL's.
func (w *World) Fill(t *testing.T, client, host string, accounts int) {
	t.Helper()
	ctx := context.Background()
	m, users, hosts := &MSALMemory{}, make([]int, accounts), map[int][]string{}
	for n := range users {
		users[n], hosts[n] = n, []string{host}
	}
	i := w.Instance()
	if err := i.Tokens.Replace(ctx, m, cache.ReplaceHints{}); err != nil {
		t.Fatal(err)
	}
	m.Document = ManyAccounts(t, client, hosts, users...)
	if err := i.Tokens.Export(ctx, m, cache.ExportHints{}); err != nil {
		t.Fatal(err)
	}
	i.Close()
}
