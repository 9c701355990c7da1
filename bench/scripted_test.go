package bench

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// byScript is the naive accessor by this library's scripts: one trip, one plain value, and MSAL's own Unmarshal and
// Marshal. It is the floor of any whose answers carry Redis's clock and what was removed, and whose writes commute.
var byScript = contender{"naive, by this library's scripts", func(at place, base http.RoundTripper) (process, error) {
	rdb := redis.NewClient(&redis.Options{Addr: at.Redis})
	return process{rdb: rdb, accessor: scripted{rdb}, http: &http.Client{Transport: base}, close: func() {
		rdb.Close()
	}}, nil
}}

type scripted struct{ rdb *redis.Client }

// place is the keys of a partition, and the life of its record in milliseconds.
func (scripted) place(key string) (keys []string, life string) {
	names, pid := layout.Names{Prefix: "floor"}, layout.PartitionID(key)
	life = "7776000000"
	if strings.HasSuffix(key, "_AppTokenCache") {
		life = "0"
	}
	return []string{names.Tokens(pid), names.Tombstone(pid)}, life
}

func (s scripted) Replace(ctx context.Context, u cache.Unmarshaler, h cache.ReplaceHints) error {
	keys, life := s.place(h.PartitionKey)
	reply, err := layout.LoadScript.Run(ctx, s.rdb, keys, "", life).Slice()
	if err != nil {
		return err
	}
	fields := reply[2].([]any)
	for i := 0; i < len(fields); i += 2 {
		if fields[i] != layout.VersionField {
			return u.Unmarshal([]byte(fields[i+1].(string)[layout.HeaderSize:]))
		}
	}
	return nil
}

func (s scripted) Export(ctx context.Context, m cache.Marshaler, h cache.ExportHints) error {
	data, err := m.Marshal()
	if err != nil {
		return err
	}
	keys, life := s.place(h.PartitionKey)
	now := time.Now()
	value := layout.Header(now.UnixMicro(), now.Unix()+3600) + string(data)
	return layout.StoreScript.Run(ctx, s.rdb, keys, "0", life, "document", value).Err()
}
