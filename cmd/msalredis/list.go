package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// choosing adds the flags that list and purge share: what the one shows, the other removes.
func (f *filter) choosing(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.account, "account", "", "of this user: MSAL's home account id, or a user name")
	cmd.Flags().StringVar(&f.tenant, "tenant", "",
		"of this tenant: an app's, a user's own, or one in which a user has tokens")
	cmd.Flags().StringVar(&f.client, "client", "", "of this app registration (client id)")
	cmd.Flags().StringVar(&f.scope, "scope", "", "with an access token for this scope")
}

func (c *command) list() *cobra.Command {
	var f filter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is cached: kind, tenant, account, scopes, expiry, size",
		Long: `list shows partitions (an app's tokens in a tenant, a user's tokens), the
answers that the refresh gate shares (client credentials, on-behalf-of), and the
pauses under way. Never a token.

Names in Redis are hashes; the real ones are inside the sealed values. So list
needs TOKEN_CACHE_KEYS; without it, and for values sealed with other keys, it
shows ids, sizes and times only.

It needs SCAN, which the library itself never uses: give its user +scan besides
the rule of docs/redis.md. It reads every value of the cache once.`,
		Example: `  msalredis list
  msalredis list --tenant 11111111-2222-3333-4444-555555555555
  msalredis list --json | jq '[.[] | select(.kind == "user")] | length'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer s.close()
			if !f.empty() {
				if err := s.needKeys("--account, --tenant, --client and --scope"); err != nil {
					return err
				}
			}
			items, err := s.items(ctx, f)
			if err != nil {
				return err
			}
			if c.json {
				for i := range items {
					items[i].Entries = nil
				}
				return c.document(append([]item{}, items...)) // [] rather than null
			}
			if len(items) == 0 {
				what := "nothing is there"
				if !f.empty() {
					what = "nothing matches"
				}
				return say(s.out, "%s with the prefix %s; --prefix takes another, the service's Options.Prefix", what, s.prefix)
			}
			return s.listed(items)
		},
	}
	f.choosing(cmd)
	return cmd
}

// listed prints items as a table, and what stands out below it.
func (s *session) listed(items []item) error {
	now := s.now()
	var rows [][]string
	keys := map[string]int{}
	bytes, unreadable := 0, 0
	for _, it := range items {
		who := it.Username
		if who == "" {
			who = it.Account
		}
		note := within(it.Expires, now)
		if it.Kind == kindPause {
			note = it.Status
		}
		rows = append(rows, []string{it.Kind, string(it.ID), strings.Join(it.Tenants, " "), who,
			strings.Join(it.Clients, " "), strings.Join(it.Scopes, " "), note, within(it.Until, now), size(it.Bytes)})
		for id, n := range it.SealedWith {
			keys[id] += n
		}
		bytes += it.Bytes
		unreadable += it.Unreadable
	}
	if err := s.table([]string{"KIND", "ID", "TENANT", "ACCOUNT", "CLIENT", "SCOPES", "TOKEN EXPIRES", "RECORD GOES",
		"SIZE"}, rows, "TENANT", "ACCOUNT", "CLIENT", "SCOPES"); err != nil {
		return err
	}
	total := several(len(items), "record", "records") + ", " + size(bytes)
	for i, id := range slices.Sorted(maps.Keys(keys)) {
		total += []string{"; values by key: ", ", "}[min(i, 1)] + id + " " + strconv.Itoa(keys[id])
	}
	say(s.out, "")
	say(s.out, "%s", total)
	switch {
	case len(s.keys) == 0:
		say(s.out, "TOKEN_CACHE_KEYS is not set: names and scopes stay sealed")
	case unreadable > 0:
		say(s.out, "%s; msalredis show ID says why", several(unreadable, "value does not open", "values do not open"))
	}
	return nil
}
