package main

import (
	"context"
	"fmt"
	"io"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/examples/internal/standin"
)

func init() { standin.Stage(example) }

var example = standin.Example{
	Name: "agents",
	Help: `Takes tokens as an agent identity, in its own name and in a user's. Entra ID and
Redis are emulated, unless the environment names real ones:

  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
                    the agent's blueprint
  AGENT_CLIENT_ID   the agent identity
  AGENT_USER        the user in whose name it works, as in ada@contoso.com
  REDIS_URL         as in rediss://:PASSWORD@NAME.REGION.redis.azure.net:10000
  TOKEN_CACHE_KEYS  the sealing keys, the same on all instances`,
	Settings: []string{"AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AGENT_CLIENT_ID", "AGENT_USER"},
	Emulate: func(w *standin.World) error {
		const agent, user = "a9e70000-0000-4000-8000-000000000001", "ada@contoso.com"
		w.Entra.AddApp(entratest.App{ClientID: agent})
		w.Entra.AddUser(entratest.User{Username: user, Name: "Ada Lovelace"})
		w.Set("AGENT_CLIENT_ID", agent)
		w.Set("AGENT_USER", user)
		return nil
	},
	Run: func(ctx context.Context, out io.Writer, _ *standin.World) error {
		for n := range 2 {
			fmt.Fprintf(out, "instance %d\n", n+1)
			if err := run(ctx, out); err != nil {
				return err
			}
		}
		return nil
	},
	Cache: &options,
}
