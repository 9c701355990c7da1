package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// The kinds of items.
const (
	kindApp        = "app"        // an app's tokens (client credentials), as MSAL keeps them
	kindUser       = "user"       // an account's tokens of all clients
	kindAppAnswer  = "app-answer" // the last answer to a client_credentials request
	kindOBOAnswer  = "obo-answer" // to an on-behalf-of request, or to a refresh that followed it
	kindUserAnswer = "user-answer"
	kindPause      = "pause"     // Entra ID throttled, refused or failed
	kindPartition  = "partition" // tokens; of an app or a user, which takes the keys to tell
	kindAnswer     = "answer"    // of which kind takes the keys to tell
)

// item is a partition, an answer or a pause, without its secrets.
type item struct {
	ID       layout.ID `json:"id"`
	Kind     string    `json:"kind"`
	Clients  []string  `json:"clients,omitempty"`
	Tenants  []string  `json:"tenants,omitempty"`
	Account  string    `json:"account,omitempty"`  // MSAL's home account id
	Username string    `json:"username,omitempty"` // as the account's entry has it
	Scopes   []string  `json:"scopes,omitempty"`   // of its access tokens
	// Expires is when the last of its access tokens does, by Redis's clock.
	Expires time.Time `json:"expires,omitzero"`
	// Until is when the record itself goes unless it is used again; of a pause, when it ends.
	Until time.Time `json:"until,omitzero"`
	Bytes int       `json:"bytes"` // of its values in Redis
	// SealedWith counts its values by the key that sealed them.
	SealedWith map[string]int `json:"sealed_with,omitempty"`
	// Unreadable counts its values that the keys at hand do not open.
	Unreadable int    `json:"unreadable,omitempty"`
	Problem    string `json:"problem,omitempty"` // why the first of these did not open
	Status     string `json:"status,omitempty"`  // of a pause: why

	Entries []entry `json:"entries,omitempty"` // shown by show

	realms []string // the names under which tenants stand in an app's partition or answer
	grant  string
}

// entry is one of an item's values.
type entry struct {
	Type      string    `json:"type"`
	Client    string    `json:"client,omitempty"`
	Tenant    string    `json:"tenant,omitempty"`
	Scopes    []string  `json:"scopes,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	RefreshOn time.Time `json:"refresh_on,omitzero"`
	Asked     time.Time `json:"asked,omitzero"` // when its token was asked for, by Redis's clock
	Bytes     int       `json:"bytes"`
	SealedBy  string    `json:"sealed_by,omitempty"`
	Problem   string    `json:"problem,omitempty"`
}

// understand makes an item of what stands in Redis. now is Redis's time.
func (s *session) understand(r raw, now time.Time) item {
	it := item{ID: r.id, SealedWith: map[string]int{},
		Kind: map[string]string{"tokens": kindPartition, "response": kindAnswer, "pause": kindPause}[r.what]}
	if r.left > 0 {
		it.Until = now.Add(time.Duration(r.left) * time.Millisecond)
	}
	if r.err != nil {
		it.Unreadable, it.Problem = 1, "not a value of the cache: "+r.err.Error()
		return it
	}
	for _, field := range slices.Sorted(maps.Keys(r.fields)) {
		value := r.fields[field]
		it.Bytes += len(field) + len(value)
		if r.what == "tokens" && field == layout.VersionField {
			continue
		}
		e := entry{Type: "sealed", Bytes: len(field) + len(value)}
		if stamp, expiry, err := layout.ParseHeader(value); err == nil {
			e.Asked, e.Expires = time.UnixMicro(stamp).UTC(), moment(expiry)
			e.SealedBy, _ = serializer.KeyID([]byte(layout.Sealed(value)))
		}
		if e.SealedBy != "" {
			it.SealedWith[e.SealedBy]++
		}
		var err error
		if r.what == "tokens" {
			err = s.takeEntry(&it, &e, r.key, field, value)
		} else {
			err = s.takeAnswer(&it, &e, r.key, value)
		}
		if err != nil {
			e.Problem = problem(err)
			if len(s.keys) > 0 {
				it.Unreadable++
				it.Problem = cmp.Or(it.Problem, e.Problem)
			}
		}
		it.Entries = append(it.Entries, e)
	}
	for _, e := range it.Entries {
		if e.Expires.After(it.Expires) { // only access tokens have one; it is readable without keys
			it.Expires = e.Expires
		}
	}
	it.Clients, it.Tenants, it.Scopes, it.realms = unique(it.Clients), unique(it.Tenants),
		unique(it.Scopes), unique(it.realms)
	return it
}

func (s *session) takeEntry(it *item, e *entry, key, field, value string) error {
	opened, _, _, err := layout.OpenEntry(s.sealer, key, field, value)
	if err != nil {
		return err
	}
	e.Type, e.Client, e.Tenant, e.Scopes = opened.Section, opened.ClientID, opened.Realm, strings.Fields(opened.Target)
	e.RefreshOn = moment(opened.RefreshOn)
	it.Clients, it.Scopes = append(it.Clients, e.Client), append(it.Scopes, e.Scopes...)
	if opened.Section != msaldoc.SectionAccount {
		it.Tenants = append(it.Tenants, e.Tenant)
	}
	if opened.HomeAccountID != "" {
		it.Kind, it.Account = kindUser, opened.HomeAccountID
		_, home, _ := strings.Cut(opened.HomeAccountID, ".")
		it.Tenants = append(it.Tenants, home)
	} else if opened.Section == msaldoc.SectionAccessToken {
		it.Kind = kindApp
		it.realms = append(it.realms, e.Tenant)
	}
	if opened.Section == msaldoc.SectionAccount {
		it.Username = gjson.GetBytes(opened.Raw, "username").String()
	}
	return nil
}

func (s *session) takeAnswer(it *item, e *entry, key, value string) error {
	content, _, _, err := layout.Open(s.sealer, key, "", value)
	if err != nil {
		return err
	}
	head, body, err := layout.DecodeAnswer(content)
	if err != nil {
		return err
	}
	it.grant = cmp.Or(head.Grant, head.Of)
	e.Type, e.Client, e.Tenant, e.Scopes, e.Asked = it.Kind, head.Client, head.Tenant, strings.Fields(head.Scopes),
		time.UnixMicro(head.Started).UTC()
	it.Clients, it.Tenants, it.Scopes, it.realms = []string{head.Client}, []string{head.Tenant}, e.Scopes,
		[]string{head.Tenant}
	if it.Kind == kindPause {
		it.Until, it.Status = moment(head.Until/1e6), pauseStatus(head, body)
		return nil
	}
	it.Account = layout.HomeAccount(body)
	if _, home, ok := strings.Cut(it.Account, "."); ok {
		it.Tenants = append(it.Tenants, home)
	}
	switch it.grant {
	case "client_credentials":
		it.Kind, it.Account = kindAppAnswer, ""
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		it.Kind = kindOBOAnswer
	default:
		it.Kind = kindUserAnswer
	}
	e.Type = it.Kind
	if in := gjson.GetBytes(body, "expires_in").Int(); in > 0 {
		e.Expires = moment(head.Started/1e6 + in)
	}
	if in := gjson.GetBytes(body, "refresh_in").Int(); in > 0 {
		e.RefreshOn = moment(head.Started/1e6 + in)
	}
	return nil
}

// pauseStatus says why there is a pause, in Entra ID's own word where it is a known one: what else stands in an answer
// may be anything.
func pauseStatus(head layout.AnswerHead, body []byte) string {
	if head.Status == 429 {
		return "429 throttled"
	}
	text := strconv.Itoa(head.Status)
	switch code := gjson.GetBytes(body, "error").String(); code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client",
		"unsupported_grant_type", "invalid_scope", "invalid_resource", "interaction_required",
		"temporarily_unavailable", "server_error":
		text += " " + code
	}
	return text
}

// problem says why a value does not open. The serializer's errors hold nothing of it.
func problem(err error) string {
	switch {
	case errors.Is(err, serializer.ErrUnknownKey):
		return "sealed with a key that is not in TOKEN_CACHE_KEYS"
	case errors.Is(err, serializer.ErrKind):
		return "sealed by another kind of serializer"
	case errors.Is(err, serializer.ErrVersion):
		return "of a newer version"
	case errors.Is(err, serializer.ErrAssociatedData):
		return "belongs to another place"
	case errors.Is(err, serializer.ErrCorrupt):
		return "changed, or sealed with another key of this id"
	}
	return "not a value of the cache"
}

func unique(list []string) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" })
	slices.Sort(list)
	return slices.Compact(list)
}

// moment is a time of Redis, in seconds; 0: none.
func moment(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// filter chooses items. An empty field matches everything.
type filter struct{ account, tenant, client, scope string }

func (f filter) empty() bool { return f == filter{} }

func (f filter) match(it item) bool {
	has := func(list []string, wanted string) bool {
		return wanted == "" || slices.ContainsFunc(list, func(s string) bool {
			return layout.FoldKey(s) == layout.FoldKey(wanted)
		})
	}
	return has([]string{it.Account, it.Username}, f.account) && has(it.Tenants, f.tenant) && has(it.Clients, f.client) &&
		has(it.Scopes, f.scope)
}

// items are all there are that match, in a stable order: by kind, then by whose they are.
func (s *session) items(ctx context.Context, f filter) ([]item, error) {
	places, err := s.scan(ctx, "", "tokens", "response", "pause")
	if err != nil {
		return nil, err
	}
	now, err := s.client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	var all []item
	bar := s.bar(len(places), "reading")
	err = s.read(ctx, places, func(r raw) error {
		all = append(all, s.understand(r, now))
		bar.add(1)
		return nil
	})
	bar.end()
	if err != nil {
		return nil, err
	}
	// An answer knows its account, and only the account's own entry the name.
	names := map[string]string{}
	for _, it := range all {
		if it.Username != "" {
			names[it.Account] = it.Username
		}
	}
	var found []item
	for _, it := range all {
		if it.Account != "" {
			it.Username = cmp.Or(it.Username, names[it.Account])
		}
		if f.match(it) {
			found = append(found, it)
		}
	}
	slices.SortFunc(found, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), slices.Compare(a.Tenants, b.Tenants), slices.Compare(a.Clients, b.Clients),
			cmp.Compare(a.Account, b.Account), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}
