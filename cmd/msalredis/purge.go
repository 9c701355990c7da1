package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/msalredis"
)

// removal is one thing that purge does.
type removal struct {
	// An account's, on every client: Cache.RemoveAccount.
	Account  string `json:"account,omitempty"`
	Username string `json:"username,omitempty"`
	// Or an app's in a tenant: Cache.ForgetAppTokens.
	Client string   `json:"client,omitempty"`
	Tenant string   `json:"tenant,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	// Or an answer's that says neither: it is forgotten by its id.
	ID layout.ID `json:"id,omitempty"`

	Records int `json:"records"` // found that it removes; -1: it was not looked for
}

func (r removal) String() string {
	var text string
	switch {
	case r.Account != "":
		text = "sign out " + r.Account
		if r.Username != "" {
			text += " (" + r.Username + ")"
		}
		text += " on every client"
	case r.Client != "":
		text = "forget the tokens of app " + r.Client + " in tenant " + r.Tenant
		if len(r.Scopes) > 0 {
			text += " for " + strings.Join(r.Scopes, " ")
		}
	default:
		text = "forget the answer " + string(r.ID)
	}
	if r.Records >= 0 {
		text += ": " + several(r.Records, "record", "records")
	}
	return plain(text)
}

func (c *command) purge() *cobra.Command {
	var f filter
	var yes, dry bool
	cmd := &cobra.Command{
		Use:   "purge (--account A | --tenant T | --client C) [--scope S]",
		Short: "Remove tokens so that they do not come back: sign users out, make apps ask anew",
		Long: `purge removes what "list" shows for the same flags, and does it as the library does: a user is signed out
(Cache.RemoveAccount), an app's tokens are forgotten (Cache.ForgetAppTokens). Either leaves a tombstone, so that a refresh under
way brings nothing back, and tells the running instances at once. Deleting keys by hand does neither.

A user is signed out of every client, also where --client or --tenant chose him: clients of a family share a refresh token.
--scope is for apps: it narrows what is forgotten to tokens for this scope, and leaves users alone.

It asks first, unless --yes is given. Exact names (--account with a home account id; --client with --tenant, without --scope)
need neither SCAN nor TOKEN_CACHE_KEYS; anything else looks for what matches, as list does.

Access tokens that Entra ID has issued stay valid to their end wherever they were sent already: revoke the user's sessions, or the
app's secret, in Entra ID.`,
		Example: `  msalredis purge --account 00000000-0000-4000-8000-00000000000a.11111111-2222-3333-4444-555555555555
  msalredis purge --tenant 11111111-2222-3333-4444-555555555555
  msalredis purge --client 66666666-7777-8888-9999-000000000000 --scope https://graph.microsoft.com/.default --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			switch {
			case f.account == "" && f.tenant == "" && f.client == "":
				return usagef("say what to remove: --account, --tenant or --client")
			case f.account != "" && f.scope != "":
				return usagef("--scope is for apps; a user is signed out whole: leave one of --account and --scope out")
			case !yes && !dry && !terminal(c.in) && c.json:
				return usagef("--json asks no questions: add --yes, or --dry-run to see what would be removed")
			}
			s, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer s.close()
			plan, err := s.plan(ctx, f)
			if err != nil {
				return err
			}
			if len(plan) == 0 {
				if c.json {
					_ = c.document([]removal{})
				}
				return finding{"nothing matches"}
			}
			if c.json {
				if err := c.document(plan); err != nil {
					return err
				}
			} else {
				for _, r := range plan {
					fmt.Fprintln(c.out, r)
				}
			}
			if dry {
				return nil
			}
			if !yes {
				ok, err := c.ask(ctx, several(len(plan), "removal", "removals")+". Go on?")
				if err != nil {
					return err
				}
				if !ok {
					return errors.New("nothing was removed")
				}
			}
			return s.remove(ctx, plan)
		},
	}
	f.choosing(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be removed, and remove nothing")
	return cmd
}

// plan is what a filter means, in terms of what the library can do.
func (s *session) plan(ctx context.Context, f filter) ([]removal, error) {
	if strings.Count(f.account, ".") == 1 && !strings.Contains(f.account, "@") && f.tenant == "" && f.client == "" {
		return []removal{{Account: f.account, Records: -1}}, nil
	}
	if f.account == "" && f.tenant != "" && f.client != "" && f.scope == "" && len(s.keys) == 0 {
		return []removal{{Client: f.client, Tenant: f.tenant, Records: -1}}, nil
	}
	if err := s.needKeys("purge by anything but a home account id, or a client in a tenant"); err != nil {
		return nil, err
	}
	items, err := s.items(ctx, f)
	if err != nil {
		return nil, err
	}
	var plan []removal
	add := func(r removal) {
		for i := range plan {
			if p := plan[i]; p.Account == r.Account && p.Client == r.Client && p.Tenant == r.Tenant && p.ID == r.ID {
				plan[i].Records++
				return
			}
		}
		r.Records = 1
		plan = append(plan, r)
	}
	for _, it := range items {
		switch {
		case it.Kind == kindPause: // no token, and it keeps Entra ID from throttling longer
		case (it.Kind == kindApp || it.Kind == kindAppAnswer) && len(it.Clients) == 1:
			for _, realm := range it.realms {
				r := removal{Client: it.Clients[0], Tenant: realm}
				if f.scope != "" {
					r.Scopes = []string{f.scope}
				}
				add(r)
			}
		case f.scope != "":
		case it.Account != "":
			add(removal{Account: it.Account, Username: it.Username})
		case it.Kind == kindUserAnswer || it.Kind == kindOBOAnswer:
			add(removal{ID: it.ID})
		}
	}
	return plan, nil
}

// remove carries a plan out.
func (s *session) remove(ctx context.Context, plan []removal) error {
	cache, err := msalredis.New(s.client, s.sealer, &msalredis.Options{
		Prefix: s.prefix, OpTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer cache.Close()
	bar := s.bar(len(plan), "removing")
	defer bar.end()
	for i, r := range plan {
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case r.Account != "":
			err = cache.RemoveAccount(ctx, r.Account)
		case r.Client != "":
			err = cache.ForgetAppTokens(ctx, r.Client, r.Tenant, slices.Clone(r.Scopes)...)
		default:
			n := s.names
			err = layout.ForgetScript.Run(ctx, s.client, []string{n.Response(r.ID), n.Tombstone(r.ID), n.Pause(r.ID), n.Fence(r.ID)},
				layout.TombstoneLife.Milliseconds()).Err()
		}
		if err != nil {
			bar.end()
			return fmt.Errorf("%d of %d done, run it again for the rest: %w", i, len(plan), err)
		}
		bar.add(1)
	}
	bar.end()
	fmt.Fprintln(s.report, "removed; the running instances were told")
	return nil
}
