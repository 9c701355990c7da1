package redisop

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/workers"
)

// judge opens the breaker where err says that Redis is away, and returns err.
func (r *Redis) judge(key string, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return err
	}
	r.wrongClient(err)
	if isAway(err) && !r.poolExhausted(key, err) {
		r.lost(key, err)
	} else {
		r.metrics.RedisFailed(Failure(err))
	}
	return err
}

// lost opens the breaker.
func (r *Redis) lost(key string, err error) {
	r.metrics.RedisFailed(Failure(err))
	if r.life.Err() == nil && r.Breaker.Open() {
		r.log.Warn("Redis is away; tokens come from memory or from Entra ID until it is back", "error", err)
		r.workers.Run(func() { r.probe(key) })
	}
}

// isAway tells a server that does not serve from one that refuses: a read-only or full server answers at once and
// still reads, so only its writes fail.
func isAway(err error) bool {
	var ne net.Error
	if errors.As(err, &ne) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return true
	}
	text := err.Error()
	for _, prefix := range []string{"LOADING ", "CLUSTERDOWN ", "MASTERDOWN ", "TRYAGAIN ", "BUSY "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	var re redis.Error
	return !errors.As(err, &re) && !errors.Is(err, ErrReply) // EOF, pool time-out, refused and the like
}

// Failure is the kind of an error of Redis, for metrics and spans; "" of nil.
func Failure(err error) telemetry.RedisFailure {
	switch {
	case err == nil:
		return ""
	case isAway(err):
		return telemetry.RedisAway
	}
	return telemetry.RedisRefused
}

// isPoolError tells an operation that go-redis did not send, for want of a connection.
func isPoolError(err error) bool {
	return errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted)
}

// poolExhausted tells whether an operation failed for want of a connection, while the application uses all of them and
// Redis answers on another. go-redis does not say for what an operation waited: all that can be known is that none was
// left.
func (r *Redis) poolExhausted(key string, err error) bool {
	var ne net.Error
	timedOut := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
	if r.Breaker.IsOpen() || !isPoolError(err) && (!timedOut || !r.crowded(key)) {
		return false
	}
	return r.fresh.answers(r.timeout, func() bool { return !r.Breaker.IsOpen() && r.answers(key) })
}

// freshConnection is what a new connection has said. While that is fresh no other is made.
type freshConnection struct {
	mu   sync.Mutex
	good time.Time
}

func (f *freshConnection) answers(fresh time.Duration, ask func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.good) < fresh {
		return true
	}
	if !ask() {
		return false
	}
	f.good = time.Now()
	return true
}

// crowded tells whether all connections of the pool are in use.
func (r *Redis) crowded(key string) bool {
	node := r.node(key)
	if node == nil {
		return false
	}
	stats := node.PoolStats()
	return int(stats.TotalConns)-int(stats.IdleConns) >= node.Options().PoolSize
}

// node is the client of the server that has a key; nil where that cannot be known.
func (r *Redis) node(key string) *redis.Client {
	switch client := r.client.(type) {
	case *redis.Client:
		return client
	case *redis.ClusterClient:
		ctx, cancel := context.WithTimeout(r.life, r.timeout)
		defer cancel()
		if node, err := client.MasterForKey(ctx, key); err == nil {
			return node
		}
	}
	return nil
}

// connecting is what a new connection may take at least: dialling, TLS and logging in are some round trips.
const connecting = time.Second

// answers tells whether Redis answers on a new connection, which is made as the application's are: a subscriber's,
// because go-redis gives anyone else one of the pool, and those may all have been dropped without a word.
func (r *Redis) answers(key string) bool {
	node := r.node(key)
	if node == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(r.life, max(connecting, 4*r.timeout))
	outcome := make(chan error, 1)
	go func() { // not all dialling ends with its context
		defer cancel()
		conn := node.WithTimeout(r.timeout).Subscribe(ctx)
		defer conn.Close()
		err := conn.Ping(ctx)
		if err == nil {
			_, err = conn.ReceiveTimeout(ctx, r.timeout)
		}
		outcome <- err
	}()
	select {
	case err := <-outcome:
		return err == nil || !isAway(err)
	case <-ctx.Done():
		return false
	}
}

// probe looks until Redis is back. It looks on new connections, and then clears the pool of dead ones, so that those do
// not open the breaker again one after another.
func (r *Redis) probe(key string) {
	pause := 50 * time.Millisecond
	for workers.Sleep(r.life, pause/2+rand.N(pause)) {
		pause = min(2*pause, time.Second)
		if r.answers(key) {
			r.clear()
			pause = 50 * time.Millisecond
		} else if _, one := r.client.(*redis.Client); one {
			continue
		}
		if !r.serves(key) { // a cluster may have another node for the key by now
			continue
		}
		r.Breaker.Close()
		r.log.Info("Redis is back")
		r.onBack()
		return
	}
}

// serves asks as an operation would.
func (r *Redis) serves(key string) bool {
	ctx, cancel := context.WithTimeout(r.life, r.timeout)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-r.slots }()
	err := r.client.PTTL(ctx, key).Err()
	return err == nil || !isAway(err)
}

// clear rids the pool of idle connections that are dead; on a cluster, each node's.
func (r *Redis) clear() {
	switch client := r.client.(type) {
	case *redis.Client:
		r.clearPool(client)
	case *redis.ClusterClient:
		ctx, cancel := context.WithTimeout(r.life, r.timeout)
		defer cancel()
		_ = client.ForEachShard(ctx, func(_ context.Context, node *redis.Client) error {
			r.clearPool(node.WithTimeout(r.timeout))
			return nil
		})
	}
}

// clearPool asks as many idle connections at a time as we may use: go-redis closes one that does not answer. All of
// them are held until the last one has answered, since the next to ask would be given one that has. It ends with a
// round in which all did.
func (r *Redis) clearPool(client *redis.Client) {
	for range client.Options().PoolSize {
		idle := int(client.PoolStats().IdleConns)
		conns := make([]*redis.Conn, min(idle, max(1, cap(r.slots)-len(r.slots))))
		ctx, cancel := context.WithTimeout(r.life, r.timeout)
		var dead atomic.Int32
		var asked sync.WaitGroup
		for i := range conns {
			conns[i] = client.Conn()
			asked.Go(func() {
				if conns[i].Ping(ctx).Err() != nil {
					dead.Add(1)
				}
			})
		}
		asked.Wait()
		cancel()
		for _, conn := range conns {
			_ = conn.Close()
		}
		if dead.Load() == 0 || r.life.Err() != nil {
			return
		}
	}
}
