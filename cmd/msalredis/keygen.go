package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/msal-redis/msal-redis-go/serializer"
)

func (c *command) keygen() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen [ID]",
		Short: "Make a sealing key for TOKEN_CACHE_KEYS",
		Long: `keygen prints a new sealing key, ID:BASE64. It is the only output of this
command that is a secret: it goes into the vault from which the service gets
TOKEN_CACHE_KEYS. ID names the key in each value that it seals; one that sorts
by age helps when rotating. Default: today's date.

Rotation takes two roll-outs: add the new key last on every instance, then move
it first. Then "msalredis reseal" makes the old key unnecessary.`,
		Example: "  msalredis keygen 2026a",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			id := c.now().UTC().Format(time.DateOnly)
			if len(args) == 1 {
				id = args[0]
			}
			key, err := serializer.GenerateKey(id)
			if err != nil {
				return err
			}
			if c.json {
				return c.encode(map[string]string{"id": key.ID(), "key": key.Export()}, "")
			}
			return say(c.out, "%s", key.Export())
		},
	}
}
