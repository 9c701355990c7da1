package redisop

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// wrongClient says once where the client is not for this Redis. Each call would fail, or find nothing, and be made good
// by a token request, in every process: nothing but a counter would tell.
func (r *Redis) wrongClient(err error) {
	if cure := r.cure(err); cure != "" {
		r.wrongClientTold.Do(func() {
			r.log.Error(cure, "error", err)
		})
	}
}

// cure is what to change, or "" where the client does.
func (r *Redis) cure(err error) string {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	_, follows := r.client.(*redis.ClusterClient)
	switch {
	case (moved || ask) && !follows: // one that follows gives up at last, while slots move
		return "Redis is a cluster, and the client is for a single server: most tokens are not shared. " +
			"Make the client with connect.Open, connect.Dial or redis.NewClusterClient"
	case strings.Contains(err.Error(), "SELECT is not allowed in cluster mode"):
		return "Redis is a cluster, and the client asks for a database other than 0: no token is shared. " +
			"Remove the number of the database from the client's URL or options"
	}
	return ""
}
