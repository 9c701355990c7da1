package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// The events of watch.
const (
	eventRefreshed = "refreshed" // an instance asked Entra ID, and has stored what came
	eventThrottled = "throttled" // Entra ID says 429: the fleet pauses for this identity
	eventRefused   = "refused"   // Entra ID refuses, or fails: likewise
	eventWaiting   = "waiting"   // instances wait for the one that holds the lease
	eventReleased  = "released"  // a lease ended without anything new: another instance had brought it
	eventRemoved   = "removed"   // a sign-out, or an app's tokens forgotten
)

// event is one line of watch.
type event struct {
	Time      time.Time `json:"time"`
	Event     string    `json:"event"`
	ID        layout.ID `json:"id"`
	Kind      string    `json:"kind,omitempty"`
	Clients   []string  `json:"clients,omitempty"`
	Tenants   []string  `json:"tenants,omitempty"`
	Account   string    `json:"account,omitempty"`
	Username  string    `json:"username,omitempty"`
	Scopes    []string  `json:"scopes,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`   // of the new token
	Until     time.Time `json:"until,omitzero"`     // the end of a pause
	Status    string    `json:"status,omitempty"`   // of a pause: why
	Instances int       `json:"instances,omitzero"` // that wait
}

func (c *command) watch() *cobra.Command {
	every := time.Second
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show live what the fleet does: refreshes, waits, sign-outs",
		Long: `watch listens to the messages that instances send each other, and looks at what
they are about:

  refreshed  an instance asked Entra ID and stored what came
  throttled  Entra ID said 429; the whole fleet pauses for this identity
  refused    Entra ID refused or failed; likewise
  waiting    so many instances wait for the one that asks
  released   an instance was about to ask and found the token there
  removed    a user was signed out, or an app's tokens were forgotten

It shows what goes through Redis: not the hits, which are served from memory,
nor what an instance does while Redis is away, nor requests that end without a
lease. Waits are sampled (--every), so shorter ones are seen by chance. For
rates and latencies use the metrics of docs/observability.md.

While Redis is away it says so and tries again; what happens meanwhile is not
seen. One node of a cluster is enough: until it is back or replaced, nothing of
the others is seen either. After a failover by Sentinel it may need some seconds
to find that it still hears the old primary; what happens on the new one until
then is not seen.

The service is not slowed: messages are sent whether or not somebody listens,
and each costs watch one small read, at most ten batches a second. It publishes
one of its own each second, to see that they arrive. Its user needs, besides the
rule of docs/redis.md, +psubscribe, and for waits +pubsub|channels
+pubsub|numsub. Ctrl-C ends it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return usagef("--every %v: at least 100ms", every)
			}
			ctx := cmd.Context()
			s, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer s.close()
			w := &watcher{session: s, last: map[place]item{}, waiting: map[layout.ID]int{}, count: map[string]int{},
				own: s.prefix + ":watch:" + rand.Text()}
			err = w.run(ctx, every)
			if ctx.Err() != nil {
				say(c.report, "%s", w.totals())
				return nil // ctrl-C is how it ends
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&every, "every", every, "time between two samples of who waits")
	return cmd
}

type watcher struct {
	*session
	// last is what was seen of an id, for who it is after a removal and for what is new. It is bounded by forgetting.
	last    map[place]item
	waiting map[layout.ID]int
	count   map[string]int
	blind   bool   // who waits may not be asked
	own     string // the channel of its beats
	mute    bool   // it may not publish, and goes without them
}

// rememberAtMost bounds what is remembered of ids.
const rememberAtMost = 10_000

// awayError is one of a Redis that is not there, or not ready. Any other is a refusal, or of the output, and stays.
type awayError struct{ error }

func (e awayError) Unwrap() error { return e.error }

// ofRedis takes an error of a command.
func ofRedis(err error) error {
	if err == nil || isReply(err) && !redis.IsLoadingError(err) && !redis.IsMasterDownError(err) &&
		!redis.IsClusterDownError(err) && !redis.IsTryAgainError(err) && !redis.IsMaxClientsError(err) {
		return err
	}
	return awayError{err}
}

const (
	askAtMost = 10 * time.Second // what Redis has for an answer: go-redis alone would try again for longer
	lookAgain = time.Second      // between two attempts to find Redis back
)

// run listens, and again whenever Redis was away. A Redis that it has never reached ends it.
func (w *watcher) run(ctx context.Context, every time.Duration) error {
	says, reached := fmt.Sprintf("watching %s; ctrl-C ends", w.prefix), false
	for {
		listened := false
		err := w.listen(ctx, every, func() {
			listened, reached = true, true
			say(w.report, "%s", says)
		})
		if ctx.Err() != nil || !reached || !errors.As(err, new(awayError)) {
			return err
		}
		if listened {
			say(w.report, "Redis is away, trying again: %v", err)
		}
		says = "Redis is back; what happened meanwhile was not seen"
		clear(w.waiting)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// listen tells what happens until something goes wrong. It calls ready when it listens and Redis answers.
func (w *watcher) listen(ctx context.Context, every time.Duration, ready func()) error {
	// The pattern is the very one of the rule's &msal:*: a pattern may be listened to only if it is one of the user's.
	ps := w.client.PSubscribe(ctx, w.prefix+":*")
	defer ps.Close()
	if _, err := ps.ReceiveTimeout(ctx, askAtMost); err != nil {
		if isRefused(err) {
			err = fmt.Errorf("%w; watch needs +psubscribe besides the rule of docs/redis.md, which has &%s:*", err, w.prefix)
		}
		return fmt.Errorf("listening: %w", ofRedis(err))
	}
	if err := w.tellAll(w.sample(ctx)); err != nil {
		return err
	}
	ready()
	messages := ps.ChannelWithSubscriptions(redis.WithChannelSize(10_000))
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	sample := time.NewTicker(every)
	defer sample.Stop()
	pulse := time.NewTicker(time.Second)
	defer pulse.Stop()
	woken, removed := map[layout.ID]bool{}, []layout.ID{}
	var beat time.Time // published and not heard yet
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case got, ok := <-messages:
			if !ok {
				return errors.New("the subscription has ended")
			}
			m, ok := got.(*redis.Message)
			if !ok { // go-redis has subscribed anew
				return awayError{errors.New("the connection was lost")}
			}
			if m.Channel == w.own {
				beat = time.Time{}
			} else if m.Channel == w.names.Changes() {
				if change, ok := layout.ParseChange(m.Payload, layout.MaxStamp); ok && change.Removed.Latest() > 0 &&
					len(removed) < rememberAtMost {
					removed = append(removed, change.ID)
				}
			} else if i, what, ok := w.names.Parse(m.Channel); ok && what == "wake" && len(woken) < rememberAtMost {
				woken[i] = true
			}
		case <-look.C:
			for _, pid := range removed {
				e := event{Event: eventRemoved, ID: pid}
				e.of(w.known(pid))
				if err := w.tell(e); err != nil {
					return err
				}
			}
			removed = removed[:0]
			if len(woken) > 0 {
				ids := slices.Sorted(maps.Keys(woken))
				clear(woken)
				if err := w.tellAll(w.looked(ctx, ids)); err != nil {
					return err
				}
			}
		case <-pulse.C:
			if beat.IsZero() {
				var err error
				if beat, err = w.beats(ctx); err != nil {
					return err
				}
			} else if time.Since(beat) > heardWithin && len(messages) == 0 {
				return awayError{errors.New("messages do not arrive; another server may be the primary now")}
			}
		case <-sample.C:
			if err := w.tellAll(w.sample(ctx)); err != nil {
				return err
			}
		}
	}
}

// heardWithin is how long a beat may take to come back.
const heardWithin = 5 * time.Second

// beats publishes a message that must come back. A connection may stay where nothing is published any more: go-redis
// leaves a subscription at the old primary after a failover, and the Sentinel ends it when it demotes that, seconds
// later, or never if it does not reach it.
func (w *watcher) beats(ctx context.Context) (time.Time, error) {
	if w.mute {
		return time.Time{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askAtMost)
	defer cancel()
	err := ofRedis(w.client.Publish(ctx, w.own, "").Err())
	if errors.As(err, new(awayError)) {
		return time.Time{}, err
	}
	if w.mute = redis.IsPermissionError(err); w.mute {
		say(w.report, "after a failover it may hear the old primary for a while: give the user +publish (%v)", err)
	}
	if err != nil {
		return time.Time{}, nil
	}
	return time.Now(), nil
}

// newest is when the newest of an item's values was asked for.
func newest(it item) (at time.Time) {
	for _, e := range it.Entries {
		if e.Asked.After(at) {
			at = e.Asked
		}
	}
	return at
}

// known is what was last seen of an id.
func (w *watcher) known(i layout.ID) item {
	for _, p := range w.places(i) {
		if it, ok := w.last[p]; ok {
			return it
		}
	}
	return item{}
}

// of says whose an event is.
func (e *event) of(it item) {
	e.Kind, e.Clients, e.Tenants, e.Account, e.Username, e.Scopes = it.Kind, it.Clients, it.Tenants, it.Account,
		it.Username, it.Scopes
}

// looked looks at what was behind the wake-ups.
func (w *watcher) looked(ctx context.Context, ids []layout.ID) ([]event, error) {
	ctx, cancel := context.WithTimeout(ctx, askAtMost)
	defer cancel()
	now, err := w.client.Time(ctx).Result()
	if err != nil {
		return nil, ofRedis(err)
	}
	var places []place
	for _, i := range ids {
		places = append(places, w.places(i)...)
	}
	news := map[layout.ID][]event{}
	err = w.read(ctx, places, func(r raw) error {
		it := w.understand(r, now)
		if e, ok := w.news(it, r.place, now); ok {
			news[r.id] = append(news[r.id], e)
		}
		return nil
	})
	if err != nil {
		return nil, ofRedis(err)
	}
	var events []event
	for _, i := range ids {
		if len(news[i]) == 0 {
			e := event{Event: eventReleased, ID: i}
			e.of(w.known(i))
			news[i] = []event{e}
		}
		events = append(events, news[i]...)
	}
	return events, nil
}

// recently is how old the token of an id that was not seen before may be to count as what the wake-up was for. A
// request takes 30 s at most, its retry included a minute.
const recently = 90 * time.Second

// news tells what is new of an item since it was last seen.
func (w *watcher) news(it item, at place, now time.Time) (event, bool) {
	before, seen := w.last[at]
	asked := newest(it)
	if !asked.After(now.Add(-recently)) || seen && !asked.After(newest(before)) {
		return event{}, false
	}
	if len(w.last) >= rememberAtMost {
		clear(w.last)
	}
	w.last[at] = it
	e := event{Event: eventRefreshed, ID: it.ID}
	e.of(it)
	if at.what == "pause" {
		if !it.Until.After(now) && len(w.keys) > 0 {
			return event{}, false
		}
		e.Event, e.Until, e.Status = eventRefused, it.Until, it.Status
		if strings.HasPrefix(it.Status, "429") {
			e.Event = eventThrottled
		}
		return e, true
	}
	if at.what == "tokens" {
		// Of the partition only what came now.
		e.Scopes = nil
		for _, entry := range it.Entries {
			if entry.Asked.Equal(asked) {
				e.Scopes = append(e.Scopes, entry.Scopes...)
				if entry.Expires.After(e.Expires) {
					e.Expires = entry.Expires
				}
			}
		}
		e.Scopes = unique(e.Scopes)
		return e, true
	}
	e.Expires = it.Expires
	return e, true
}

// sample asks who waits: an instance that waits for a lease listens on its channel. It also finds out that Redis is
// away.
func (w *watcher) sample(ctx context.Context) ([]event, error) {
	ctx, cancel := context.WithTimeout(ctx, askAtMost)
	defer cancel()
	waiting := map[layout.ID]int{}
	var mu sync.Mutex
	// A cluster's node knows its own subscribers only, and they may be at a replica.
	ask := func(ctx context.Context, node *redis.Client) error {
		if w.blind {
			return node.Ping(ctx).Err()
		}
		channels, err := node.PubSubChannels(ctx, escapeGlob(w.prefix)+":v1:{*}:wake").Result()
		if err != nil || len(channels) == 0 {
			return err
		}
		numbers, err := node.PubSubNumSub(ctx, channels...).Result()
		mu.Lock()
		defer mu.Unlock()
		for channel, n := range numbers {
			if i, _, ok := w.names.Parse(channel); ok {
				waiting[i] += int(n)
			}
		}
		return err
	}
	var err error
	switch client := w.client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachShard(ctx, ask)
	case *redis.Client:
		err = ask(ctx, client)
	}
	if err = ofRedis(err); errors.As(err, new(awayError)) {
		return nil, err
	}
	if w.blind {
		return nil, nil
	}
	if err != nil {
		w.blind = true
		say(w.report, "who waits cannot be seen: give the user +pubsub|channels +pubsub|numsub (%v)", err)
		return nil, nil
	}
	var events []event
	for _, i := range slices.Sorted(maps.Keys(waiting)) {
		if n := waiting[i]; n > 0 && n != w.waiting[i] {
			e := event{Event: eventWaiting, ID: i, Instances: n}
			e.of(w.known(i))
			events = append(events, e)
		}
	}
	w.waiting = waiting
	return events, nil
}

func (w *watcher) tellAll(events []event, err error) error {
	for _, e := range events {
		if err := w.tell(e); err != nil {
			return err
		}
	}
	return err
}

func (w *watcher) tell(e event) error {
	e.Time = w.now()
	w.count[e.Event]++
	if w.json {
		return w.encode(e, "")
	}
	who := e.Username
	if who == "" {
		who = e.Account
	}
	var note string
	switch e.Event {
	case eventRefreshed:
		if !e.Expires.IsZero() {
			note = "expires " + within(e.Expires, e.Time)
		}
	case eventThrottled, eventRefused:
		note = e.Status
		if !e.Until.IsZero() {
			note += ", ends " + within(e.Until, e.Time)
		}
	case eventWaiting:
		note = several(e.Instances, "instance waits", "instances wait")
	}
	line := e.Time.Format("15:04:05.000") + "  " + fmt.Sprintf("%-9s  %-10s  %s", e.Event, e.Kind, e.ID)
	for _, part := range []string{note, who, strings.Join(e.Tenants, " "), strings.Join(e.Clients, " "),
		strings.Join(e.Scopes, " ")} {
		if part != "" {
			line += "  " + part
		}
	}
	return say(w.out, "%s", line)
}

func (w *watcher) totals() string {
	var parts []string
	for _, name := range []string{eventRefreshed, eventThrottled, eventRefused, eventWaiting,
		eventReleased, eventRemoved} {
		if n := w.count[name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, n))
		}
	}
	if len(parts) == 0 {
		return "nothing happened"
	}
	return strings.Join(parts, ", ")
}
