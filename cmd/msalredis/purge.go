package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/msalredis"
	"github.com/msal-redis/msal-redis-go/serializer"
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

// mood is how a removal is told: a plan must not read as what has been done, nor the other way round.
type mood struct{ signOut, forget string }

var (
	planned = mood{"sign out ", "forget "}
	would   = mood{"would sign out ", "would forget "}
	done    = mood{"signed out ", "forgot "}
)

func (r removal) in(m mood) string {
	var text string
	switch {
	case r.Account != "":
		text = m.signOut + r.Account
		if r.Username != "" {
			text += " (" + r.Username + ")"
		}
		text += " on every client"
	case r.Client != "":
		text = m.forget + "the tokens of app " + r.Client + " in tenant " + r.Tenant
		if len(r.Scopes) > 0 {
			text += " for " + strings.Join(r.Scopes, " ")
		}
	default:
		text = m.forget + "the answer " + string(r.ID)
	}
	if r.Records >= 0 {
		text += ": " + several(r.Records, "record", "records")
	}
	return text
}

func (c *command) purge() *cobra.Command {
	var f filter
	var yes, dry bool
	cmd := &cobra.Command{
		Use:   "purge (--account A | --tenant T | --client C) [--scope S]",
		Short: "Remove tokens for good: sign users out, make apps ask anew",
		Long: `purge removes what "list" shows for the same flags, and does it as the library
does: a user is signed out (Cache.RemoveAccount), an app's tokens are forgotten
(Cache.ForgetAppTokens). Either leaves a tombstone, so that a refresh under way
brings nothing back, and tells the running instances at once. Deleting keys by
hand does neither.

A user is signed out of every client, also where --client or --tenant alone
chose him: clients of a family share a refresh token. --client with --tenant
names an app and leaves users alone. --scope is for apps: it narrows what is
forgotten to tokens for this scope, and leaves users alone.

It says what is to be removed and asks, unless --yes is given; standard output
has what was then removed, or what a dry run would remove. Without a terminal,
as under cron, it takes --yes, or an answer by a pipe.

Exact names (--account with a home account id of Entra ID, two GUIDs with a dot
between them; --client with --tenant, without --scope) need neither SCAN nor
TOKEN_CACHE_KEYS, and a tombstone is left also where nothing is stored yet;
anything else looks for what matches, as list does.

What it looks at and cannot read, because it is sealed with a key that is not in
TOKEN_CACHE_KEYS (a rotation under way, another kind of serializer) or damaged,
may match and is left. Then the error says how many values that are and what to
do, and the exit code is 3.

Access tokens that Entra ID has issued stay valid to their end wherever they
were sent already: revoke the user's sessions, or the app's secret, in Entra ID.`,
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
			case strings.ContainsFunc(f.client+f.tenant, func(r rune) bool {
				return !unicode.IsGraphic(r) || unicode.IsSpace(r) || strings.ContainsRune("/:@", r)
			}):
				return usagef("--client takes the id of an app, --tenant a tenant's id or domain")
			case !yes && !dry && !terminal(c.in) && c.json:
				return usagef("--json asks no questions: add --yes, or --dry-run to see what would be removed")
			}
			s, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer s.close()
			plan, left, err := s.plan(ctx, f)
			if err != nil {
				return unfinished{"nothing was removed", err}
			}
			if len(plan) == 0 {
				if c.json {
					_ = c.document([]removal{})
				}
				return left.finding("nothing matches")
			}
			if dry {
				if err := c.removals(plan, would); err != nil {
					return err
				}
				say(c.report, "nothing was removed: this was a dry run")
				return left.finding("")
			}
			if !yes {
				say(c.report, "to be removed, if you confirm:")
				for _, r := range plan {
					say(c.report, "  %s", r.in(planned))
				}
				ok, err := c.ask(ctx, several(len(plan), "removal", "removals")+". Go on?")
				if err != nil {
					return unfinished{"nothing was removed", err}
				}
				if !ok {
					return errors.New("nothing was removed")
				}
			}
			n, err := s.remove(ctx, plan)
			if err := errors.Join(err, c.removals(plan[:n], done)); err != nil {
				return err
			}
			say(c.report, "removed; the running instances were told")
			if left.values > 0 { // some of it may have gone with what matched
				if _, left, err = s.plan(ctx, f); err != nil {
					return err
				}
			}
			return left.finding("")
		},
	}
	f.choosing(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be removed, and remove nothing")
	return cmd
}

// removals prints the result.
func (c *command) removals(all []removal, m mood) error {
	if c.json {
		return c.document(all)
	}
	for _, r := range all {
		if err := say(c.out, "%s", r.in(m)); err != nil {
			return err
		}
	}
	return nil
}

// unread is what a purge by looking cannot judge: values that do not open, in records that may match.
type unread struct {
	values, records int
	keys            map[string]bool // that sealed them and are not at hand
}

// finding says so, after what else there is to say; nil: there is nothing to say.
func (u unread) finding(text string) error {
	if u.values > 0 {
		if text != "" {
			text += " of what can be read; "
		}
		text += several(u.values, "value", "values") + " in " + several(u.records, "record", "records") +
			" cannot be read and may match: left as they are"
		if len(u.keys) > 0 {
			text += "; add " + strings.Join(slices.Sorted(maps.Keys(u.keys)), ", ") + " to TOKEN_CACHE_KEYS and run it again"
		}
		text += "; \"msalredis list\" has them, and a home account id, or a client with its tenant, is purged whether " +
			"or not it can be read"
	}
	if text == "" {
		return nil
	}
	return finding{text}
}

// of counts those of an item.
func (u *unread) of(it item, hasKey func(string) bool) {
	u.values += it.Unreadable
	u.records++
	for id := range it.SealedWith {
		if !hasKey(id) {
			u.keys[id] = true
		}
	}
}

// unsure tells whether what does not open of an item may be what the filter is for. An app's record is of one client in
// one tenant, a user's of one account, in any tenants and of any clients.
func (f filter) unsure(it item) bool {
	switch {
	case it.Unreadable == 0 || it.Kind == kindPause:
		return false
	case it.Kind == kindApp:
		f.scope = ""
		return f.match(it)
	case it.Account != "" && f.scope != "": // which is for apps
		return false
	case it.Username != "" && f.account != "":
		return filter{account: f.account}.match(it)
	}
	return true
}

// homeAccountID is the form of what MSAL has of Entra ID: a user's id, in B2C with the name of a policy, and a
// tenant's. What has another form, as a user name or the id of an ADFS user, is looked for: a removal of what nobody
// has would end as if it were done.
var homeAccountID = regexp.MustCompile(`(?i)^` + guid + `(-[\w-]+)?\.` + guid + `$`)

const guid = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`

// exact is what a filter names by itself. The names in Redis are computed from it, whoever sealed what stands there,
// and a tombstone is left also where nothing stands yet.
func (f filter) exact() (removal, bool) {
	switch {
	case homeAccountID.MatchString(f.account) && f == filter{account: f.account}:
		return removal{Account: f.account, Records: -1}, true
	case f.client != "" && f.tenant != "" && f == filter{client: f.client, tenant: f.tenant}:
		return removal{Client: f.client, Tenant: f.tenant, Records: -1}, true
	}
	return removal{}, false
}

// plan is what a filter means, in terms of what the library can do, and what it may mean besides.
func (s *session) plan(ctx context.Context, f filter) ([]removal, unread, error) {
	left := unread{keys: map[string]bool{}}
	if r, ok := f.exact(); ok {
		return []removal{r}, left, nil
	}
	if err := s.needKeys("purge by anything but a home account id, or a client in a tenant"); err != nil {
		return nil, left, err
	}
	items, err := s.items(ctx, filter{})
	if err != nil {
		return nil, left, err
	}
	var plan []removal
	add := func(r removal) {
		for i := range plan {
			p := plan[i]
			if layout.FoldKey(p.Account) == layout.FoldKey(r.Account) && layout.FoldKey(p.Client) == layout.FoldKey(r.Client) &&
				layout.FoldKey(p.Tenant) == layout.FoldKey(r.Tenant) && p.ID == r.ID {
				plan[i].Records++
				return
			}
		}
		r.Records = 1
		plan = append(plan, r)
	}
	hasKey := func(id string) bool {
		return slices.ContainsFunc(s.keys, func(k serializer.Key) bool { return k.ID() == id })
	}
	for _, it := range items {
		whole := false // it goes with all that is in it
		switch {
		case !f.match(it):
		case it.Kind == kindPause: // no token, and it keeps Entra ID from throttling longer
		case (it.Kind == kindApp || it.Kind == kindAppAnswer) && len(it.Clients) > 0 && len(it.realms) > 0:
			for _, client := range it.Clients {
				for _, realm := range it.realms {
					r := removal{Client: client, Tenant: realm}
					if f.scope != "" {
						r.Scopes = []string{f.scope}
					}
					add(r)
				}
			}
			whole = f.scope == ""
		case f.scope != "":
		case it.Account != "":
			add(removal{Account: it.Account, Username: it.Username})
			whole = true
		case it.Kind == kindUserAnswer || it.Kind == kindOBOAnswer || it.Kind == kindAppAnswer:
			add(removal{ID: it.ID})
		}
		if !whole && f.unsure(it) {
			left.of(it, hasKey)
		}
	}
	return plan, left, nil
}

// remove carries a plan out, and says how much of it is done.
func (s *session) remove(ctx context.Context, plan []removal) (int, error) {
	cache, err := msalredis.New(s.client, s.sealer, &msalredis.Options{
		Prefix: s.prefix, OpTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return 0, err
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
			err = layout.ForgetScript.Run(ctx, s.client,
				[]string{n.Response(r.ID), n.Tombstone(r.ID), n.Pause(r.ID)},
				layout.TombstoneLife.Milliseconds()).Err()
		}
		if err != nil {
			return i, unfinished{fmt.Sprintf("%d of %d done, run it again for the rest", i, len(plan)), err}
		}
		bar.add(1)
	}
	return len(plan), nil
}
