package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/entratest"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// healed is the end of a fault that ends by itself.
func healed(context.Context) error { return nil }

func killWorker(ctx context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	slot := rng.IntN(s.Terms.Workers)
	old := s.fleet.at(slot)
	f.Worker = old.life.Worker
	select {
	case <-old.ended: // it had died by itself
	default:
		old.life.Killed = true
	}
	old.kill()
	next, err := s.fleet.start(ctx, slot, s.mine(slot))
	if err != nil {
		return nil, err
	}
	s.fleet.replace(slot, next)
	return healed, next.do(ctx, "load")
}

func freezeWorker(_ context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	p := s.fleet.at(rng.IntN(s.Terms.Workers))
	f.Worker = p.life.Worker
	p.child.Freeze()
	return func(context.Context) error { p.child.Thaw(); return nil }, nil
}

func restartRedis(empty bool) inject {
	return func(ctx context.Context, s *stage, rng *rand.Rand, _ *injected) (func(context.Context) error, error) {
		r := s.store.primary(rng)
		if empty {
			// Nobody gets through from here on, so that nothing comes between.
			mend := s.store.cut()
			r.Do("FLUSHALL")
			r.Kill()
			if err := mend(); err != nil {
				return nil, err
			}
		} else {
			r.Kill()
		}
		return func(ctx context.Context) error {
			r.Restart()
			return until(ctx, func() bool {
				return s.store.cluster == nil || strings.Contains(fmt.Sprint(r.Do("CLUSTER", "INFO")), "cluster_state:ok")
			})
		}, nil
	}
}

func freezeRedis(_ context.Context, s *stage, rng *rand.Rand, _ *injected) (func(context.Context) error, error) {
	r := s.store.primary(rng)
	r.Freeze()
	return func(context.Context) error { r.Thaw(); return nil }, nil
}

func fillRedis(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	for _, r := range s.store.servers {
		r.FillMemory()
	}
	return func(context.Context) error {
		for _, r := range s.store.servers {
			r.MaxMemory(0)
		}
		return nil
	}, nil
}

func readOnlyRedis(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	r := s.store.servers[0]
	r.ReadOnly()
	return func(context.Context) error { r.Writable(); return nil }, nil
}

func evict(ctx context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	keys, err := s.store.keys(ctx, s.prefix, "")
	if err != nil {
		return nil, err
	}
	n := len(keys)/10 + 1
	for range min(n, len(keys)) {
		if err := s.store.admin.Del(ctx, keys[rng.IntN(len(keys))]).Err(); err != nil {
			return nil, err
		}
	}
	f.Note = fmt.Sprintf("%d of %d keys", n, len(keys))
	return healed, nil
}

func flush(ctx context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	return healed, s.store.primaries(ctx, func(ctx context.Context, c *redis.Client) error {
		return c.FlushAll(ctx).Err()
	})
}

func loseScripts(ctx context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	return healed, s.store.primaries(ctx, func(ctx context.Context, c *redis.Client) error {
		return c.ScriptFlush(ctx).Err()
	})
}

// value is a stored value: a field of a partition, or a key of its own.
type value struct{ key, field, text string }

func (v value) get(ctx context.Context, c redis.UniversalClient) (string, error) {
	if v.field == "" {
		return c.Get(ctx, v.key).Result()
	}
	return c.HGet(ctx, v.key, v.field).Result()
}

// put writes a value where one is, in a record that nobody has signed out of since: what comes back after a sign-out
// would be the administrator's doing.
func (v value) put(ctx context.Context, c redis.UniversalClient, tombstone string) error {
	keys := []string{v.key, v.key[:strings.LastIndexByte(v.key, ':')] + ":tombstone"}
	return putScript.Run(ctx, c, keys, v.field, v.text, tombstone).Err()
}

func (v value) tombstone(ctx context.Context, c redis.UniversalClient) (string, error) {
	t, err := c.Get(ctx, v.key[:strings.LastIndexByte(v.key, ':')]+":tombstone").Result()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return t, err
}

var putScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 or (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 0 end
if ARGV[1] == '' then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
elseif redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1`)

// values are n stored values chosen at random.
func (s *stage) values(ctx context.Context, rng *rand.Rand, n int) ([]value, error) {
	keys, err := s.store.keys(ctx, s.prefix, ":tokens", ":response")
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	var out []value
	for range n {
		v := value{key: keys[rng.IntN(len(keys))]}
		if strings.HasSuffix(v.key, ":tokens") {
			fields, err := s.store.admin.HKeys(ctx, v.key).Result()
			if err != nil {
				return nil, err
			}
			if len(fields) == 0 {
				continue // gone since
			}
			if v.field = fields[rng.IntN(len(fields))]; v.field == "v" {
				continue // the version is no value
			}
		}
		if v.text, err = v.get(ctx, s.store.admin); errors.Is(err, redis.Nil) {
			continue
		} else if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// owner is the user whose record a key is.
func (s *stage) owner(key string) []string {
	for _, p := range s.world.people {
		if strings.Contains(key, "{"+partitionID(p.Account)+"}") {
			return []string{p.Account}
		}
	}
	return nil
}

// partitionID is the name that the library gives to a user's record (internal/layout).
func partitionID(key string) string {
	h := sha256.New()
	for _, p := range []string{"partition", key} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

func (s *stage) overwrite(ctx context.Context, f *injected, v value, text string) error {
	t, err := v.tombstone(ctx, s.store.admin)
	if err != nil {
		return err
	}
	f.Users = append(f.Users, s.owner(v.key)...)
	return value{v.key, v.field, text}.put(ctx, s.store.admin, t)
}

func corrupt(ctx context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	values, err := s.values(ctx, rng, 20)
	for _, v := range values {
		bytes := []byte(v.text)
		for range 1 + rng.IntN(4) {
			bytes[rng.IntN(len(bytes))] ^= byte(1 + rng.IntN(255))
		}
		if err = s.overwrite(ctx, f, v, string(bytes)); err != nil {
			break
		}
	}
	f.Note = fmt.Sprintf("%d values", len(values))
	return healed, err
}

func swap(ctx context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	values, err := s.values(ctx, rng, 20)
	for i := 0; i+1 < len(values) && err == nil; i += 2 {
		if err = s.overwrite(ctx, f, values[i], values[i+1].text); err == nil {
			err = s.overwrite(ctx, f, values[i+1], values[i].text)
		}
	}
	f.Note = fmt.Sprintf("%d values", len(values))
	return healed, err
}

func rollBack(ctx context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	values, err := s.values(ctx, rng, 60)
	if err != nil {
		return nil, err
	}
	tombstones := make([]string, len(values))
	for i, v := range values {
		if tombstones[i], err = v.tombstone(ctx, s.store.admin); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		for i, v := range values {
			f.Users = append(f.Users, s.owner(v.key)...)
			if err := v.put(ctx, s.store.admin, tombstones[i]); err != nil {
				return err
			}
		}
		f.Note = fmt.Sprintf("%d values", len(values))
		return nil
	}, nil
}

func cutNet(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	mend := s.store.cut()
	return func(context.Context) error { return mend() }, nil
}

func resetNet(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	return healed, s.store.cut()()
}

func toxic(s *stage, text string) (func(context.Context) error, error) {
	remove, err := s.store.toxic(text)
	return func(context.Context) error { remove(); return nil }, err
}

func delayNet(_ context.Context, s *stage, rng *rand.Rand, f *injected) (func(context.Context) error, error) {
	late := 100 + rng.IntN(300)
	f.Note = fmt.Sprintf("%d ms", late)
	return toxic(s, fmt.Sprintf(`{"name":"late","type":"latency","stream":"downstream","attributes":{"latency":%d}}`,
		late))
}

func throttleNet(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	return toxic(s, `{"name":"narrow","type":"bandwidth","stream":"downstream","attributes":{"rate":30}}`)
}

// silenceNet: Toxiproxy's timeout of 0 keeps connections open, lets nothing through, and closes them when it ends.
func silenceNet(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	return toxic(s, `{"name":"silent","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
}

func entraSays(status int) inject {
	return func(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
		f := entratest.Fault{Status: status}
		if status == http.StatusTooManyRequests {
			f.RetryAfter = "2"
		}
		remove := s.world.entra.AddFault(f)
		return func(context.Context) error { remove(); return nil }, nil
	}
}

func entraDrops(after bool) inject {
	return func(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
		remove := s.world.entra.AddFault(entratest.Fault{Drop: true, After: after})
		return func(context.Context) error { remove(); return nil }, nil
	}
}

func entraHangs(_ context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	over := make(chan struct{})
	remove := s.world.entra.OnTokenRequest(func(entratest.Request) { <-over })
	var once sync.Once
	let := func(context.Context) error { once.Do(func() { remove(); close(over) }); return nil }
	return let, nil
}

// primary is a server that takes writes.
func (s *store) primary(rng *rand.Rand) *redistest.Server {
	switch {
	case s.replicated != nil:
		return s.replicated.Primary
	case s.cluster != nil:
		var primaries []*redistest.Server
		for _, r := range s.servers {
			if role, ok := r.Do("ROLE").([]any); ok && len(role) > 0 && role[0] == "master" {
				primaries = append(primaries, r)
			}
		}
		return primaries[rng.IntN(len(primaries))]
	}
	return s.servers[0]
}

func (s *store) primaries(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	if c, ok := s.admin.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, f)
	}
	return f(ctx, s.admin.(*redis.Client))
}

// settle makes sure which of the two servers is the primary, and that the other follows it: on a busy machine the
// sentinel may have failed over on its own.
func (s *store) settle(ctx context.Context) (*redistest.Replicated, error) {
	r := s.replicated
	return r, until(ctx, func() bool {
		if addr, ok := r.Sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", r.MasterName).([]any); ok && len(addr) == 2 &&
			fmt.Sprintf("%v:%v", addr...) == r.Replica.Addr() {
			r.Primary, r.Replica = r.Replica, r.Primary
		}
		return strings.Contains(fmt.Sprint(r.Primary.Do("INFO", "replication")), "state=online") &&
			strings.Contains(fmt.Sprint(r.Replica.Do("INFO", "replication")), "master_link_status:up")
	})
}

func failover(ctx context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	r, err := s.store.settle(ctx)
	if err != nil {
		return nil, err
	}
	r.Failover()
	return healed, nil
}

// promoted waits until the replica has taken over from a primary that is gone, brings that one back, and waits until it
// follows.
func (s *stage) promoted(ctx context.Context, back func(*redistest.Server)) error {
	r := s.store.replicated
	r.WaitForPromotion()
	r.Primary, r.Replica = r.Replica, r.Primary
	back(r.Replica)
	return until(ctx, func() bool {
		return strings.Contains(fmt.Sprint(r.Replica.Do("INFO", "replication")), "master_link_status:up")
	})
}

func killPrimary(ctx context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	r, err := s.store.settle(ctx)
	if err != nil {
		return nil, err
	}
	r.Primary.Kill()
	return healed, s.promoted(ctx, (*redistest.Server).Restart)
}

// freezePrimary: a primary that was given up wakes, takes itself for one for a moment, and is demoted.
func freezePrimary(ctx context.Context, s *stage, _ *rand.Rand, _ *injected) (func(context.Context) error, error) {
	r, err := s.store.settle(ctx)
	if err != nil {
		return nil, err
	}
	r.Primary.Freeze()
	return healed, s.promoted(ctx, (*redistest.Server).Thaw)
}

// settling is how long servers may take to be one Redis again. An election among a cluster's nodes that finds no
// majority, as on a busy machine, is tried again after four node timeouts (clusterHandleSlaveFailover in cluster.c),
// and may fail more than once.
const settling = time.Minute

// until waits for something that another process does and does not announce.
func until(ctx context.Context, f func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(settling)
	defer limit.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-limit.C:
			return fmt.Errorf("waited in vain for %v", settling)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
