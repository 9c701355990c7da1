package main

import (
	"context"

	"github.com/spf13/cobra"
)

// The statuses of a check.
const (
	statusOK   = "ok"
	statusWarn = "warn" // works, and not as well as it could
	statusFail = "fail" // the cache does not work, or not safely
	statusSkip = "skip" // could not be found out
)

// check is one line of doctor.
type check struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

func (c *command) doctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor [URL]",
		Short: "Find out if a Redis is fit for the cache, and what to change",
		Long: `doctor connects as the service does and checks TLS, permissions, latency, the
server's version, eviction, persistence, cluster slots, the difference of
clocks, and that every script of the library runs. Each check is a line:

  ok    as it should be
  warn  works, and not as well as it could
  fail  the cache does not work, or not safely: exit code 3
  skip  could not be found out, mostly because this user may not ask (INFO,
        CONFIG)

Run it as the service's own Redis user. It writes a few keys below the prefix,
with a short life, and deletes them. Each permission that is missing leaves an
entry in the server's ACL LOG.`,
		Example: `  REDIS_URL=rediss://user:password@host:6380 msalredis doctor
  msalredis doctor rediss://name.region.redis.azure.net:10000 --entra`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				c.url, c.named = args[0], "URL"
			}
			checks, err := c.examine(cmd.Context())
			if err != nil {
				return err
			}
			const arrow, under = "                    -> ", "                       "
			failed := 0
			for _, k := range checks {
				if k.Status == statusFail {
					failed++
				}
				if !c.json {
					_ = c.sayStatus(k.Status, "  %-12s  %s", k.Check, k.Found)
					if k.Advice != "" {
						for i, line := range folded(k.Advice, c.width()-len(arrow)) {
							say(c.out, "%s%s", []string{arrow, under}[min(i, 1)], line)
						}
					}
				}
			}
			if c.json {
				if err := c.document(checks); err != nil {
					return err
				}
			}
			if failed > 0 {
				return finding{several(failed, "check fails", "checks fail")}
			}
			return nil
		},
	}
}

// examine makes all checks. An error says that there was nothing to examine.
func (c *command) examine(ctx context.Context) ([]check, error) {
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	d := &doctor{session: s}
	for _, look := range []func(context.Context){d.server, d.transport, d.latency, d.clock, d.permissions, d.scripts,
		d.slots, d.memory, d.persistence, d.sealing} {
		look(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return d.checks, nil
}
