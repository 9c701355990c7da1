package main

import (
	"context"
	"io"

	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "quickstart",
	Help: `Takes an app's token through the shared cache, in two processes, and prints its
fingerprint. Entra ID and Redis are emulated; with these variables it is one
process with the real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the app registration
  REDIS_URL         as in redis://localhost:6379
  TOKEN_CACHE_KEYS  the sealing keys, the same for all instances:
                    go run ./cmd/msalredis keygen`,
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"},
	Emulate:  func(*standin.World) error { return nil },
	Run:      func(ctx context.Context, out io.Writer, w *standin.World) error { return w.Processes(ctx, out, 2) },
	Cache:    &options,
}
