package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/lock"
)

// doctor makes the checks, each a method, in the order in which a person would want to know.
type doctor struct {
	*session
	nodes  []node
	checks []check
}

// node is what one primary says of itself.
type node struct {
	addr  string
	hello map[string]string // empty: it knows no HELLO
	info  map[string]string // nil: it may not be asked
}

func (n node) version() string { return cmp.Or(n.hello["version"], n.info["redis_version"]) }
func (n node) mode() string    { return cmp.Or(n.hello["mode"], n.info["redis_mode"]) }
func (n node) role() string    { return cmp.Or(n.hello["role"], n.info["role"]) }

func (n node) String() string {
	if n.version() == "" {
		return "version not told"
	}
	return cmp.Or(n.hello["server"], "redis") + " " + n.version()
}

// greeter keeps what a server answers to the HELLO of a login.
type greeter struct{ hello map[string]string }

func (g *greeter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *greeter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (g *greeter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if hello, ok := cmd.(*redis.MapStringInterfaceCmd); ok && err == nil && cmd.Name() == "hello" {
			for k, v := range hello.Val() {
				g.hello[k] = fmt.Sprint(v)
			}
		}
		return err
	}
}

// greeting is what a server says of itself at login, which takes no permission. Later it may: Redis 6.0 refuses HELLO
// to a user with the rule of docs/redis.md, and does not know it without arguments.
func greeting(ctx context.Context, c *redis.Client) (map[string]string, error) {
	options := *c.Options()
	options.MinIdleConns = 0
	fresh := redis.NewClient(&options)
	defer fresh.Close()
	g := &greeter{hello: map[string]string{}}
	fresh.AddHook(g)
	if err := fresh.Ping(ctx).Err(); err != nil && !isReply(err) {
		return nil, err
	}
	return g.hello, nil
}

func (d *doctor) say(name, status, found, advice string) {
	d.checks = append(d.checks, check{name, status, found, advice})
}

// each calls f with every primary and reports what went wrong, but for refusals, as a failure of the check.
func (d *doctor) each(ctx context.Context, name string, f func(context.Context, *redis.Client) error) bool {
	if err := d.primaries(ctx, f); err != nil {
		d.say(name, statusFail, err.Error(), "look at the server's log")
		return false
	}
	return true
}

// oldest is the oldest server that the library is for (docs/redis.md).
const oldest = "6.0"

func (d *doctor) server(ctx context.Context) {
	ok := d.each(ctx, "server", func(ctx context.Context, c *redis.Client) error {
		hello, err := greeting(ctx, c)
		if err != nil {
			return err
		}
		n := node{addr: c.Options().Addr, hello: hello}
		if text, err := c.Info(ctx).Result(); err == nil {
			n.info = map[string]string{}
			for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
				if name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":"); ok {
					n.info[name] = value
				}
			}
		} else if !isReply(err) {
			return err
		}
		d.nodes = append(d.nodes, n)
		return nil
	})
	if !ok {
		return
	}
	slices.SortFunc(d.nodes, func(a, b node) int { return strings.Compare(a.addr, b.addr) })
	kind, status, advice := "standalone or behind Sentinel", statusOK, ""
	if _, ok := d.client.(*redis.ClusterClient); ok {
		kind = "cluster with " + several(len(d.nodes), "primary", "primaries") +
			", which a client for one server (redis.NewClient) cannot use"
	} else if slices.ContainsFunc(d.nodes, func(n node) bool { return n.mode() == "cluster" }) {
		kind, status = "a node of a cluster, by a client for one server", statusFail
		advice = "use a client for clusters (connect.Open, connect.Dial or redis.NewClusterClient): this one reaches " +
			"the keys of one node"
	}
	var versions []string
	for _, n := range d.nodes {
		versions = append(versions, n.String())
		if n.version() == "" && status == statusOK {
			status, advice = statusSkip, "HELLO and INFO are refused: look it up where the server is managed, "+
				oldest+" or newer is needed"
		}
		if role := n.role(); role != "" && role != "master" {
			d.say("server", statusFail, "it is a "+role,
				"connect to the primary: tokens are written, and a replica refuses that")
			return
		}
		if v := n.version(); v != "" && older(v, oldest) {
			status, advice = statusFail, "update to "+oldest+" or newer: the library is tested from there"
		}
	}
	d.say("server", status, strings.Join(unique(versions), ", ")+", "+kind, advice)
}

// older compares dotted numbers.
func older(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x < y
		}
	}
	return false
}

// renewSoon is how long before its end a certificate is worth a word.
const renewSoon = 21 * 24 * time.Hour

func (d *doctor) transport(context.Context) {
	if d.tls == nil {
		for _, n := range d.nodes {
			host, _, _ := net.SplitHostPort(n.addr)
			if ip := net.ParseIP(host); (ip == nil || !ip.IsLoopback()) && host != "localhost" &&
				!strings.HasPrefix(n.addr, "/") {
				d.say("tls", statusWarn, "none: tokens are sealed, but the password and key names cross the network as they are",
					"write rediss:// and use the server's TLS port (6380, on Azure Managed Redis 10000), unless the network "+
						"is the service's own")
				return
			}
		}
		d.say("tls", statusOK, "none, on this machine", "")
		return
	}
	found := tls.VersionName(d.tls.Version)
	if d.skipVerification {
		d.say("tls", statusWarn, found+", not verified",
			"give the CA (--ca, Options.TLSConfig.RootCAs) instead of skipping the verification")
		return
	}
	if len(d.tls.PeerCertificates) > 0 {
		end := d.tls.PeerCertificates[0].NotAfter
		found += ", certificate ends " + end.UTC().Format(time.DateOnly)
		if end.Sub(d.now()) < renewSoon {
			d.say("tls", statusWarn, found, "renew the certificate: when it has ended no instance connects any more")
			return
		}
	}
	d.say("tls", statusOK, found, "")
}

// opTimeout is Options.OpTimeout's default.
const opTimeout = 250 * time.Millisecond

func (d *doctor) latency(ctx context.Context) {
	var worst, middle time.Duration
	if !d.each(ctx, "latency", func(ctx context.Context, c *redis.Client) error {
		var took []time.Duration
		for range 21 {
			begun := time.Now()
			if err := c.Ping(ctx).Err(); err != nil && !isReply(err) {
				return err
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		middle, worst = max(middle, took[len(took)/2]), max(worst, took[len(took)-1])
		return nil
	}) {
		return
	}
	found := fmt.Sprintf("median %v, worst of 21 %v", precise(middle), precise(worst))
	switch {
	case middle > opTimeout/2:
		d.say("latency", statusFail, found,
			"Options.OpTimeout is 250 ms unless set: bring service and Redis into one region, or raise it")
	case middle > 10*time.Millisecond || worst > opTimeout/2:
		d.say("latency", statusWarn, found, "within a region 1 to 3 ms are usual; run doctor where the service runs")
	default:
		d.say("latency", statusOK, found, "")
	}
}

func precise(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// clockAtMost is from where on the library translates times between clocks.
const clockAtMost = 2 * time.Second

func (d *doctor) clock(ctx context.Context) {
	var offset time.Duration
	refused := false
	if !d.each(ctx, "clock", func(ctx context.Context, c *redis.Client) error {
		best, theirs := time.Hour, time.Duration(0)
		for range 5 {
			before := d.now()
			begun := time.Now()
			at, err := c.Time(ctx).Result()
			trip := time.Since(begun)
			if isReply(err) {
				refused = true
				return nil
			}
			if err != nil {
				return err
			}
			if trip < best {
				best, theirs = trip, at.Sub(before.Add(trip/2))
			}
		}
		if theirs.Abs() > offset.Abs() {
			offset = theirs
		}
		return nil
	}) {
		return
	}
	found := "Redis and this machine agree to a millisecond"
	if offset = offset.Round(time.Millisecond); offset > 0 {
		found = fmt.Sprintf("Redis is %v ahead of this machine", offset)
	} else if offset < 0 {
		found = fmt.Sprintf("Redis is %v behind this machine", -offset)
	}
	switch {
	case refused:
		d.say("clock", statusSkip, "the user may not ask for the TIME", "see permissions")
	case offset.Abs() > clockAtMost:
		d.say("clock", statusWarn, found, "the library goes by Redis's clock, so tokens are right; but client assertions "+
			"and other services go by this machine's: set both clocks by NTP")
	default:
		d.say("clock", statusOK, found, "")
	}
}

// needed are the commands of the rule in docs/redis.md, with arguments that do no harm. A test holds it to the rule.
func needed(h, s, z, channel string) [][]any {
	const ms = "5000"
	return [][]any{
		{"set", s, "v", "px", ms}, {"pexpire", s, ms}, {"expireat", s, "4102444800"}, {"pttl", s}, {"get", s}, {"type", s},
		{"del", s},
		{"hset", h, "f", "v"}, {"pexpire", h, ms}, {"hget", h, "f"}, {"hgetall", h}, {"hdel", h, "f"},
		{"zadd", z, "1", "m"}, {"pexpire", z, ms}, {"zrange", z, "0", "-1"}, {"zrem", z, "x"},
		{"zremrangebyscore", z, "-inf", "0"},
		{"zremrangebyrank", z, "1", "0"}, {"del", z},
		{"eval", "return redis.call('get', KEYS[1])", "1", s}, {"evalsha", strings.Repeat("0", 40), "1", s},
		{"time"}, {"ping"}, {"publish", channel, ""},
	}
}

// clustered are those of the rule for clusters.
func clustered() [][]any { return [][]any{{"cluster", "slots"}, {"command"}} }

func (d *doctor) permissions(ctx context.Context) {
	_, isCluster := d.client.(*redis.ClusterClient)
	missing := map[string]bool{}
	var keys, channels bool
	if !d.each(ctx, "permissions", func(ctx context.Context, c *redis.Client) error {
		i := layout.ID("doctor-" + rand.Text())
		channel := d.names.Changes()
		commands := needed(d.names.Tokens(i), d.names.Response(i), d.names.RIDs(i), channel)
		if isCluster {
			commands = append(commands, clustered()...)
		}
		refused := func(err error, name string) {
			// Redis 7.0 and 7.2 word these differently, and either may hold the user's name, which may be anything.
			switch text := err.Error(); {
			case strings.Contains(text, " to run the "):
				missing["+"+name] = true
			case strings.Contains(text, "channel"):
				channels = true
			default:
				keys = true
			}
		}
		for _, args := range commands {
			// Other answers, such as MOVED in a cluster, come after the permissions.
			err := c.Do(ctx, args...).Err()
			if isRefused(err) {
				name := fmt.Sprint(args[0])
				if name == "cluster" {
					name += "|" + fmt.Sprint(args[1])
				}
				refused(err, name)
			} else if err != nil && !isReply(err) {
				return err
			}
		}
		ps := c.Subscribe(ctx)
		defer ps.Close()
		for _, step := range []struct {
			name string
			do   func(context.Context, ...string) error
		}{{"subscribe", ps.Subscribe}, {"unsubscribe", ps.Unsubscribe}} {
			if err := step.do(ctx, channel); err != nil {
				return err
			}
			if _, err := ps.ReceiveTimeout(ctx, 5*time.Second); isRefused(err) {
				refused(err, step.name)
			} else if err != nil && !isReply(err) {
				return err
			}
		}
		return nil
	}) {
		return
	}
	var rules []string
	for rule := range missing {
		rules = append(rules, rule)
	}
	slices.Sort(rules)
	if keys {
		rules = append([]string{"~" + d.prefix + ":*"}, rules...)
	}
	if channels {
		rules = append(rules, "&"+d.prefix+":*")
	}
	if len(rules) == 0 {
		d.say("permissions", statusOK, "all that docs/redis.md lists", "")
		return
	}
	user := "default"
	switch client := d.client.(type) {
	case *redis.Client:
		user = orDefault(client.Options().Username)
	case *redis.ClusterClient:
		user = orDefault(client.Options().Username)
	}
	d.say("permissions", statusFail, "missing: "+strings.Join(rules, " "),
		"ACL SETUSER "+user+" "+strings.Join(rules, " "))
}

func orDefault(user string) string {
	if user == "" {
		return "default"
	}
	return user
}

// scripts runs every script of the library, and the lease, on keys of doctor's own.
func (d *doctor) scripts(ctx context.Context) {
	n, i := d.names, layout.ID("doctor-"+rand.Text())
	now := time.Now().UnixMicro()
	value := layout.Header(now, now/1e6+60) + "v"
	const life = "60000"
	var failed []string
	var first error
	note := func(name string, err error) {
		if err != nil {
			failed = append(failed, name)
			if first == nil {
				first = err
			}
		}
	}
	scripts := []struct {
		name string
		run  *redis.Script
		keys []string
		args []any
	}{
		{"store", layout.StoreScript, []string{n.Tokens(i), n.Tombstone(i)}, []any{"0", "0", "f", value}},
		{"load", layout.LoadScript, []string{n.Tokens(i), n.Tombstone(i)}, []any{"", life}},
		{"discard", layout.DiscardScript, []string{n.Tokens(i)}, []any{"f", value}},
		{"respond", layout.RespondScript, []string{n.Response(i), n.Tombstone(i), n.Pause(i)},
			[]any{strconv.FormatInt(now, 10), value, life}},
		{"look", layout.LookScript, []string{n.Response(i), n.Pause(i)}, nil},
		{"enlist", layout.EnlistScript, []string{n.RIDs(i), n.Tombstone(i)},
			[]any{"m", life, "10", strconv.FormatInt(now, 10)}},
		{"forget", layout.ForgetScript, []string{n.Response(i), n.Tombstone(i), n.Pause(i)}, []any{"1000"}},
		{"signout", layout.SignoutScript, []string{n.Tokens(i), n.Tombstone(i), n.RIDs(i)},
			[]any{"1000", "0", "1", "0", "", "0"}},
		// The change log is the fleet's: these try the scripts on a key of ours.
		{"announce", layout.AnnounceScript, []string{n.RIDs(i)}, []any{string(i), "doctor", "10", life}},
		{"heed", layout.HeedScript, []string{n.RIDs(i)}, []any{"", "10", "doctor", life}},
	}
	for _, script := range scripts {
		note(script.name, script.run.Run(ctx, d.client, script.keys, script.args...).Err())
	}
	locker := lock.New(d.client, &lock.Options{OpTimeout: 5 * time.Second, TTL: 20 * time.Second, Unfenced: true})
	lease, err := locker.TryAcquire(ctx, n.Lock(i))
	if err == nil {
		if _, err = locker.TryAcquire(ctx, n.Lock(i)); err == nil {
			err = errors.New("a lease that is held was given a second time")
		} else if errors.Is(err, lock.ErrHeld) {
			err = nil
		}
		err = errors.Join(err, lease.Release(ctx))
	}
	note("lease", err)
	_ = locker.Close()
	// one slot; else they expire
	_ = d.client.Del(ctx, n.Tokens(i), n.Response(i), n.RIDs(i), n.Tombstone(i), n.Lock(i)).Err()
	switch {
	case first == nil:
		d.say("scripts", statusOK, fmt.Sprintf("all %d run, and the lease is taken and given back", len(scripts)), "")
	case strings.HasPrefix(first.Error(), "OOM"):
		d.say("scripts", statusFail, strings.Join(failed, ", ")+": Redis is full: "+first.Error(),
			"raise maxmemory, or set an eviction policy; see eviction")
	case strings.HasPrefix(first.Error(), "READONLY"), strings.HasPrefix(first.Error(), "MISCONF"),
		strings.HasPrefix(first.Error(), "NOREPLICAS"):
		d.say("scripts", statusFail, strings.Join(failed, ", ")+": Redis takes no writes: "+first.Error(),
			"look at its role, its disk and its replicas")
	default:
		d.say("scripts", statusFail, strings.Join(failed, ", ")+": "+first.Error(),
			"see permissions; where those are right, Lua scripts must be allowed (EVAL, EVALSHA)")
	}
}

const allSlots = 16384

func (d *doctor) slots(ctx context.Context) {
	if _, ok := d.client.(*redis.ClusterClient); !ok {
		d.say("slots", statusOK, "not a cluster", "")
		return
	}
	slots, err := d.client.ClusterSlots(ctx).Result()
	if err != nil {
		d.say("slots", statusSkip, err.Error(), "see permissions")
		return
	}
	covered, single := 0, 0
	for _, s := range slots {
		covered += s.End - s.Start + 1
		if len(s.Nodes) < 2 {
			single++
		}
	}
	found := fmt.Sprintf("%d of %d covered", covered, allSlots)
	switch {
	case covered < allSlots:
		d.say("slots", statusFail, found,
			"tokens in the others cannot be kept: look at CLUSTER NODES for a primary that failed")
	case single > 0:
		d.say("slots", statusWarn, found+"; "+several(single, "range has", "ranges have")+" no replica",
			"without one, the tokens of a primary that fails are lost until it is back")
	default:
		d.say("slots", statusOK, found+", each with a replica", "")
	}
}

// memory is about what Redis does when it is full.
func (d *doctor) memory(context.Context) {
	for _, n := range d.nodes {
		policy := n.info["maxmemory_policy"]
		if policy == "" {
			d.say("eviction", statusSkip, "the user may not ask (INFO)",
				"the policy should be noeviction or volatile-lru: look it up where the server is managed, or allow +info")
			return
		}
		limit, _ := strconv.ParseInt(n.info["maxmemory"], 10, 64)
		used, _ := strconv.ParseInt(n.info["used_memory"], 10, 64)
		evicted := n.info["evicted_keys"]
		found := policy + ", no memory limit"
		if limit > 0 {
			found = fmt.Sprintf("%s, %d %% of %s used", policy, used*100/limit, size(int(limit)))
		}
		if evicted != "" && evicted != "0" {
			found += ", " + evicted + " keys evicted since its start"
		}
		if len(d.nodes) > 1 {
			found += " at " + n.addr
		}
		full := limit > 0 && used*10 > limit*9
		switch {
		case policy == "noeviction" && full:
			d.say("eviction", statusWarn, found, "it is nearly full, and then refuses new tokens: raise maxmemory")
		case policy == "noeviction":
			d.say("eviction", statusOK, found, "")
		case strings.HasSuffix(policy, "-random"), policy == "volatile-ttl":
			d.say("eviction", statusWarn, found,
				"this policy takes what is in use, tombstones of sign-outs and leases first where it goes by TTL: set "+
					"noeviction or volatile-lru")
		case limit == 0 && (evicted == "" || evicted == "0"):
			d.say("eviction", statusOK, found, "")
		default:
			d.say("eviction", statusWarn, found, "what is evicted costs a token request, a user's record perhaps a sign-in: "+
				"where that matters give the tokens a server of their own with noeviction")
		}
	}
}

func (d *doctor) persistence(ctx context.Context) {
	if len(d.nodes) == 0 || d.nodes[0].info == nil {
		d.say("persistence", statusSkip, "the user may not ask (INFO)", "none is needed: docs/redis.md, Settings")
		return
	}
	snapshots := "snapshots unknown, CONFIG is refused"
	if d.each(ctx, "persistence", func(ctx context.Context, c *redis.Client) error {
		save, err := c.ConfigGet(ctx, "save").Result()
		switch {
		case err == nil && save["save"] == "":
			snapshots = "no snapshots"
		case err == nil:
			snapshots = "snapshots " + save["save"]
		case !isReply(err):
			return err
		}
		return nil
	}) {
		info := d.nodes[0].info
		found := "append-only file off, " + snapshots
		advice := ""
		if info["aof_enabled"] == "1" {
			found = "append-only file on, " + snapshots
		} else if snapshots == "no snapshots" {
			advice = "fine for app tokens; a restart signs out users whom no instance has used within 28 hours: " +
				"appendonly yes keeps them"
		}
		status := statusOK
		for _, n := range d.nodes {
			for _, name := range []string{"rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status"} {
				if s := n.info[name]; s != "" && s != "ok" {
					status, found, advice = statusFail, found+"; "+name+" is "+s,
						"Redis refuses writes while it cannot save: look at its disk"
				}
			}
		}
		d.say("persistence", status, found, advice)
	}
}

func (d *doctor) sealing(context.Context) {
	if len(d.keys) == 0 {
		d.say("keys", statusSkip, "TOKEN_CACHE_KEYS is not set",
			"set it as the service has it, to see whether it can be read; msalredis keygen makes a key")
		return
	}
	found := "seals with " + d.keys[0].ID()
	for i, k := range d.keys[1:] {
		found += []string{", opens also ", " "}[min(i, 1)] + k.ID()
	}
	advice := ""
	if len(d.keys) > 1 {
		advice = "when every instance has " + d.keys[0].ID() + " first, msalredis reseal makes the others unnecessary"
	}
	d.say("keys", statusOK, found, advice)
}
