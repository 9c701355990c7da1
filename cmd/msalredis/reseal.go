package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

//go:embed reseal.lua
var resealLua string

var resealScript = redis.NewScript(resealLua)

// resealed counts values.
type resealed struct {
	Resealed   int `json:"resealed"`
	Already    int `json:"already"`    // sealed with the newest key
	Changed    int `json:"changed"`    // by an instance, each time that we were about to
	UnknownKey int `json:"unknown"`    // sealed with a key that is not at hand, or by another kind of serializer
	Unreadable int `json:"unreadable"` // changed by accident or on purpose, or no value of the cache
}

func (r resealed) left() int { return r.Changed + r.UnknownKey + r.Unreadable }

func (c *command) reseal() *cobra.Command {
	return &cobra.Command{
		Use:   "reseal",
		Short: "Seal every value anew with the newest key, to drop an old one",
		Long: `reseal opens each value that an older key of TOKEN_CACHE_KEYS has sealed and
seals it with the first. Run it when all instances have the new key first, and
before the old one is taken away; both must be in TOKEN_CACHE_KEYS.

It is safe while the service runs: a value is replaced only if it is still the
one that was read, so nothing newer is overwritten, and as contents and stamps
stay the same, instances notice nothing. It can be ended at any time and run
again: what has the newest key is passed over by its header. It needs SCAN, as
list does.

Values that it cannot open stay as they are, and then it ends with exit code 3.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.needKeys("reseal"); err != nil {
				return err
			}
			places, err := s.scan(ctx, "", "tokens", "response", "pause")
			if err != nil {
				return err
			}
			var total resealed
			bar := s.bar(len(places), "resealing")
			for err == nil && len(places) > 0 {
				now := places[:min(batch, len(places))]
				places = places[len(now):]
				err = s.read(ctx, now, func(r raw) error { return s.resealOne(ctx, r, &total) })
				bar.add(len(now))
			}
			bar.end()
			if c.json {
				err = errors.Join(err, c.document(total))
			} else {
				say(c.out, "%s resealed with key %s; %d had it already", several(total.Resealed, "value", "values"),
					s.keys[0].ID(), total.Already)
			}
			if err != nil {
				return unfinished{"not all was looked at, run it again for the rest", err}
			}
			if total.left() == 0 {
				return nil
			}
			var left []string
			for _, l := range []struct {
				n    int
				what string
			}{
				{total.UnknownKey, "sealed with keys that are not in TOKEN_CACHE_KEYS"},
				{total.Unreadable, "no readable values of the cache"},
				{total.Changed, "being written by instances just now: run it again"},
			} {
				if l.n > 0 {
					left = append(left, fmt.Sprintf("%d %s", l.n, l.what))
				}
			}
			stay := several(total.left(), "value stays as it is: ", "values stay as they are: ")
			return finding{stay + strings.Join(left, ", ")}
		},
	}
}

// resealTries is how often a record is read again that an instance has changed meanwhile.
const resealTries = 3

func (s *session) resealOne(ctx context.Context, r raw, total *resealed) error {
	ours := 0 // of the values that have the newest key now
	for try := 1; ; try++ {
		if r.err != nil {
			total.Unreadable++
			return nil
		}
		var count resealed
		args := s.resealArgs(r, &count)
		count.Already -= ours
		if len(args) > 0 {
			replaced, err := resealScript.Run(ctx, s.client, []string{r.key}, args...).StringSlice()
			if err != nil {
				return err
			}
			for _, done := range replaced {
				if done == "1" {
					count.Resealed++
				} else {
					count.Changed++
				}
			}
		}
		total.Resealed += count.Resealed
		ours += count.Resealed
		if count.Changed == 0 || try == resealTries {
			total.Already += count.Already
			total.Changed += count.Changed
			total.UnknownKey += count.UnknownKey
			total.Unreadable += count.Unreadable
			return nil
		}
		again := raw{place: r.place}
		if err := s.read(ctx, []place{r.place}, func(now raw) error { again = now; return nil }); err != nil {
			return err
		}
		if again.fields == nil && again.err == nil {
			return nil // it has gone
		}
		r = again
	}
}

// resealArgs are what the script is to replace.
func (s *session) resealArgs(r raw, count *resealed) (args []any) {
	for field, value := range r.fields {
		if r.what == "tokens" && field == layout.VersionField {
			continue
		}
		stamp, expiry, err := layout.ParseHeader(value)
		if err != nil {
			count.Unreadable++
			continue
		}
		id, err := serializer.KeyID([]byte(layout.Sealed(value)))
		if err == nil && id == s.keys[0].ID() {
			count.Already++
			continue
		}
		content, _, _, err := layout.Open(s.sealer, r.key, field, value)
		switch {
		case errors.Is(err, serializer.ErrUnknownKey), errors.Is(err, serializer.ErrKind),
			errors.Is(err, serializer.ErrVersion):
			count.UnknownKey++
			continue
		case err != nil:
			count.Unreadable++
			continue
		}
		sealed, err := layout.SealSession(s.sealer, r.key, field, stamp, expiry, layout.Session(value), content)
		if err != nil { // the encrypted serializer always seals
			count.Unreadable++
			continue
		}
		args = append(args, field, value, sealed)
	}
	return args
}
