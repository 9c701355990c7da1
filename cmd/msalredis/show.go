package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

func (c *command) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID | ACCOUNT",
		Short: "Show one record: type, scopes, expiry, age, key; never a token",
		Long: `show prints what list has in one line, value by value. ID is an id of list, or
its beginning, which takes SCAN to complete; ACCOUNT is MSAL's home account id,
uid.utid, which does not.`,
		Example: "  msalredis show 00000000-0000-4000-8000-00000000000a.11111111-2222-3333-4444-555555555555",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer s.close()
			var places []place
			switch name := args[0]; {
			case strings.Contains(name, "."):
				pid := layout.PartitionID(name)
				places = []place{{s.names.Tokens(pid), pid, "tokens"}}
			case layout.ID(name).Usable():
				places = s.places(layout.ID(name))
			default:
				if places, err = s.scan(ctx, escapeGlob(name), "tokens", "response", "pause"); err != nil {
					return err
				}
			}
			now, err := s.client.Time(ctx).Result()
			if err != nil {
				return err
			}
			items := []item{}
			if err := s.read(ctx, places, func(r raw) error {
				items = append(items, s.understand(r, now))
				return nil
			}); err != nil {
				return err
			}
			if c.json {
				if err := c.document(items); err != nil {
					return err
				}
			} else {
				for i, it := range items {
					if i > 0 {
						say(c.out, "")
					}
					if err := s.shown(it); err != nil {
						return err
					}
				}
			}
			if len(items) == 0 {
				return finding{"there is no such record; ids are those of msalredis list"}
			}
			return nil
		},
	}
}

func (s *session) shown(it item) error {
	now := s.now()
	say(s.out, "%s %s", it.Kind, it.ID)
	for _, line := range [][2]string{{"user", it.Username}, {"account", it.Account}, {"grant", it.grant},
		{"status", it.Status},
		{"goes", within(it.Until, now)}, {"size", size(it.Bytes)}} {
		if line[1] != "" {
			say(s.out, "%-8s %s", line[0], line[1])
		}
	}
	if it.Problem != "" && len(it.Entries) == 0 {
		say(s.out, "%s", it.Problem)
		return nil
	}
	var rows [][]string
	for _, e := range it.Entries {
		rows = append(rows, []string{e.Type, e.Tenant, e.Client, strings.Join(e.Scopes, " "), within(e.Expires, now),
			within(e.RefreshOn, now), within(e.Asked, now), e.SealedBy, size(e.Bytes), e.Problem})
	}
	return s.table([]string{"TYPE", "TENANT", "CLIENT", "SCOPES", "EXPIRES", "REFRESH", "ASKED FOR", "KEY",
		"SIZE", "PROBLEM"}, rows, "TENANT", "CLIENT", "SCOPES", "PROBLEM")
}
