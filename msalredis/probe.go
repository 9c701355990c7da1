package msalredis

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
)

// judge opens the breaker where err says that Redis is away, and returns err.
func (s *store) judge(key string, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return err
	}
	s.wrongClient(err)
	if isAway(err) && !s.hogged(key, err) {
		s.lost(key, err)
	} else {
		s.metrics.redisError(err)
	}
	return err
}

// lost opens the breaker.
func (s *store) lost(key string, err error) {
	s.metrics.redisError(err)
	if s.life.Err() == nil && s.away.Store(true) {
		s.log.warn("Redis is away; tokens come from memory or from Entra ID until it is back", "error", err)
		s.workers.run(func() { s.probe(key) })
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
	return !errors.As(err, &re) && !errors.Is(err, errReply) // EOF, pool time-out, refused and the like
}

// isPoolError tells an operation that go-redis did not send, for want of a connection.
func isPoolError(err error) bool {
	return errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted)
}

// hogged tells whether an operation failed for want of a connection, while the application uses all of them and Redis
// answers on another. go-redis does not say for what an operation waited: all that can be known is that none was left.
func (s *store) hogged(key string, err error) bool {
	var ne net.Error
	timedOut := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
	if s.away.Load() || !isPoolError(err) && (!timedOut || !s.crowded(key)) {
		return false
	}
	return s.second.of(s.timeout, func() bool { return !s.away.Load() && s.answers(key) })
}

// secondOpinion is what a new connection says. One that is as fresh as may be is not asked for again.
type secondOpinion struct {
	mu   sync.Mutex
	good time.Time
}

func (o *secondOpinion) of(fresh time.Duration, ask func() bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.good) < fresh {
		return true
	}
	if !ask() {
		return false
	}
	o.good = time.Now()
	return true
}

// crowded tells whether all connections of the pool are in use.
func (s *store) crowded(key string) bool {
	node := s.node(key)
	if node == nil {
		return false
	}
	stats := node.PoolStats()
	return int(stats.TotalConns)-int(stats.IdleConns) >= node.Options().PoolSize
}

// node is the client of the server that has a key; nil where that cannot be known.
func (s *store) node(key string) *redis.Client {
	switch client := s.client.(type) {
	case *redis.Client:
		return client
	case *redis.ClusterClient:
		ctx, cancel := context.WithTimeout(s.life, s.timeout)
		defer cancel()
		if node, err := client.MasterForKey(ctx, key); err == nil {
			return node
		}
	}
	return nil
}

// connecting is what a new connection may take at least: dialling, TLS and logging in are some round trips.
const connecting = time.Second

// answers tells whether Redis answers on a new connection, which is made as the application's are: a subscriber's, because
// go-redis gives anyone else one of the pool, and those may all have been dropped without a word.
func (s *store) answers(key string) bool {
	node := s.node(key)
	if node == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(s.life, max(connecting, 4*s.timeout))
	outcome := make(chan error, 1)
	go func() { // not all dialling ends with its context
		defer cancel()
		conn := node.WithTimeout(s.timeout).Subscribe(ctx)
		defer conn.Close()
		err := conn.Ping(ctx)
		if err == nil {
			_, err = conn.ReceiveTimeout(ctx, s.timeout)
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

// probe looks until Redis is back. It looks on new connections, and then clears the pool of dead ones, so that those do not
// open the breaker again one after another.
func (s *store) probe(key string) {
	pause := 50 * time.Millisecond
	for sleep(s.life, pause/2+rand.N(pause)) {
		pause = min(2*pause, time.Second)
		if s.answers(key) {
			s.clear()
			pause = 50 * time.Millisecond
		} else if _, one := s.client.(*redis.Client); one {
			continue
		}
		if !s.serves(key) { // a cluster may have another node for the key by now
			continue
		}
		s.away.Store(false)
		s.log.info("Redis is back")
		s.onBack()
		return
	}
}

// serves asks as an operation would.
func (s *store) serves(key string) bool {
	ctx, cancel := context.WithTimeout(s.life, s.timeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-s.slots }()
	err := s.client.PTTL(ctx, key).Err()
	return err == nil || !isAway(err)
}

// clear rids the pool of idle connections that are dead; on a cluster, each node's.
func (s *store) clear() {
	switch client := s.client.(type) {
	case *redis.Client:
		s.clearPool(client)
	case *redis.ClusterClient:
		ctx, cancel := context.WithTimeout(s.life, s.timeout)
		defer cancel()
		_ = client.ForEachShard(ctx, func(_ context.Context, node *redis.Client) error {
			s.clearPool(node.WithTimeout(s.timeout))
			return nil
		})
	}
}

// clearPool asks as many idle connections at a time as we may use: go-redis closes one that does not answer. All of them
// are held until the last one has answered, since the next to ask would be given one that has. It ends with a round in
// which all did.
func (s *store) clearPool(client *redis.Client) {
	for range client.Options().PoolSize {
		idle := int(client.PoolStats().IdleConns)
		conns := make([]*redis.Conn, min(idle, max(1, cap(s.slots)-len(s.slots))))
		ctx, cancel := context.WithTimeout(s.life, s.timeout)
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
		if dead.Load() == 0 || s.life.Err() != nil {
			return
		}
	}
}
