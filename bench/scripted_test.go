package bench

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// byScript is the naive accessor, sealed, by this library's scripts: one trip, one sealed value, and MSAL's own
// Unmarshal and Marshal. It is the floor of any whose answers carry Redis's clock and what was removed, whose writes
// commute, and whose tokens are encrypted.
var byScript = contender{"naive, sealed, by this library's scripts",
	func(at place, base http.RoundTripper) (process, error) {
		sealer, err := encrypted(at)
		if err != nil {
			return process{}, err
		}
		rdb := redis.NewClient(&redis.Options{Addr: at.Redis})
		return process{rdb: rdb, accessor: scripted{rdb, sealer}, http: &http.Client{Transport: base}, close: func() {
			rdb.Close()
		}}, nil
	}}

type scripted struct {
	rdb    *redis.Client
	sealer serializer.Serializer
}

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
			data, err := s.sealer.Open([]byte(fields[i+1].(string)[layout.HeaderSize:]), []byte(keys[0]))
			if err != nil {
				return err
			}
			return u.Unmarshal(data)
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
	if data, err = s.sealer.Seal(data, []byte(keys[0])); err != nil {
		return err
	}
	now := time.Now()
	value := layout.Header(now.UnixMicro(), now.Unix()+3600) + string(data)
	return layout.StoreScript.Run(ctx, s.rdb, keys, "0", life, "document", value).Err()
}
