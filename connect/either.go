package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// One address does not say whether a single server or a node of a cluster is there, and while Redis is away nobody
// does. A cluster client can wait: it asks for the slots with its first command. A server that has none refuses that,
// and is then taken for a cluster of one node. Only where each command is to go is asked, by asker; retries,
// redirections and reloads are go-redis's.

// asClusterOptions are those of a cluster client for what stands at the one address that o has.
func asClusterOptions(o *redis.Options) *redis.ClusterOptions {
	first, network, db := o.Addr, o.Network, o.DB
	return &redis.ClusterOptions{
		Addrs: []string{first},
		NewClient: func(node *redis.Options) *redis.Client {
			if node.Addr == first {
				node.Network = network // a socket of this machine; the addresses that a cluster names are TCP's
			}
			node.DB = db
			return redis.NewClient(node)
		},
		ClientName: o.ClientName, Protocol: o.Protocol, Username: o.Username, Password: o.Password,
		StreamingCredentialsProvider: o.StreamingCredentialsProvider,
		Dialer:                       o.Dialer, TLSConfig: o.TLSConfig,
		MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff, MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout: o.DialTimeout, DialerRetries: o.DialerRetries, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		ContextTimeoutEnabled: o.ContextTimeoutEnabled, DisableIdentity: o.DisableIdentity,
		PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MaxConcurrentDials: o.MaxConcurrentDials,
		MinIdleConns: o.MinIdleConns, MaxIdleConns: o.MaxIdleConns, MaxActiveConns: o.MaxActiveConns,
		ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime,
		ConnMaxLifetimeJitter: o.ConnMaxLifetimeJitter, PipelinePoolSize: o.PipelinePoolSize,
		PipelineReadBufferSize: o.PipelineReadBufferSize, PipelineWriteBufferSize: o.PipelineWriteBufferSize,
	}
}

// newEither is a client for a single server or a cluster, whichever is found at the address.
func newEither(o *redis.Options) *redis.ClusterClient {
	co := asClusterOptions(o)
	// Else go-redis asks a server that is alone for its COMMANDs, over and over where the user may not.
	co.DisableRoutingPolicies = true
	client := redis.NewClusterClient(co)
	client.OnNewNode(func(node *redis.Client) { node.AddHook(&asker{addr: node.Options().Addr}) })
	return client
}

const allSlots = 16384

// asker stands before one node. It answers CLUSTER SLOTS for a server that refuses it, and asks such a server no more
// until a redirection shows that a cluster has taken its place, or that the user may not ask.
type asker struct {
	addr  string
	alone atomic.Bool
}

func (a *asker) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *asker) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		slots, asks := cmd.(*redis.ClusterSlotsCmd)
		if asks && a.alone.Load() {
			slots.SetVal(a.all())
			return nil
		}
		err := next(ctx, cmd)
		if asks && refuses(err) {
			a.alone.Store(true)
			slots.SetVal(a.all())
			return nil
		}
		a.look(err)
		switch {
		case err == nil:
			return nil
		case asks && strings.HasPrefix(err.Error(), "redis: can't parse"):
			return fmt.Errorf("%w: %w", errReply, err)
		case strings.Contains(err.Error(), noSelect):
			return fmt.Errorf("connect: this Redis is a cluster: remove the number after the host, a cluster has "+
				"database 0 only: %w", err)
		}
		return err
	}
}

func (a *asker) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			a.look(cmd.Err())
		}
		return err
	}
}

// look looks for a redirection.
func (a *asker) look(err error) {
	if err == nil {
		return
	}
	_, moved := redis.IsMovedError(err)
	if _, ask := redis.IsAskError(err); moved || ask {
		a.alone.Store(false)
	}
}

// all gives every slot to the node.
func (a *asker) all() []redis.ClusterSlot {
	return []redis.ClusterSlot{{Start: 0, End: allSlots - 1, Nodes: []redis.ClusterNode{{Addr: a.addr}}}}
}

// noSelect is what a node of a cluster says of any database but 0.
const noSelect = "SELECT is not allowed in cluster mode"

// refuses tells an answer that is a refusal from no answer.
func refuses(err error) bool {
	var refusal redis.Error
	return errors.As(err, &refusal)
}

// isCluster tells whether a server that answers is a node of a cluster. What a node holds only some users may ask; in
// which mode it runs everybody hears who logs in. The error is of a server that does not answer.
func isCluster(ctx context.Context, client redis.UniversalClient) (bool, error) {
	err := client.ClusterSlots(ctx).Err()
	if !refuses(err) {
		return err == nil, err
	}
	if !redis.IsPermissionError(err) {
		return false, nil
	}
	hello, err := client.Do(ctx, "HELLO").Result()
	if err != nil && !refuses(err) {
		return false, err
	}
	return mode(hello) == "cluster", nil
}

// mode is what an answer to HELLO says of it, in either protocol.
func mode(hello any) string {
	switch hello := hello.(type) {
	case map[any]any:
		text, _ := hello["mode"].(string)
		return text
	case []any:
		for i := 0; i+1 < len(hello); i += 2 {
			if hello[i] == "mode" {
				text, _ := hello[i+1].(string)
				return text
			}
		}
	}
	return ""
}
