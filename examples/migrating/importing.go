// This file is what to copy. Your oldRecords read and delete the records of your accessor, as naive.go does.

package main

import (
	"context"
	"sync"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"

	"github.com/msal-redis/msal-redis-go/msalredis"
)

// importing is the shared cache while records of an older accessor are about: what that one has kept of a partition is
// taken over the first time this process is asked for it, unless the shared cache has it already.
//
// Give it to WithCache, as an option of the Cache's NewConfidential or NewPublic, and take that option away once the
// old records are gone. Its own NewConfidential is the Cache's, and does not use it.
type importing struct {
	*msalredis.Cache
	old  oldRecords
	seen sync.Map // partitions that have been taken over, or had nothing to take
}

// oldRecords are MSAL's documents as an older accessor kept them.
type oldRecords interface {
	// load is the record of a partition; nil where there is none.
	load(ctx context.Context, partition string) ([]byte, error)
	remove(ctx context.Context, partition string) error
}

func (i *importing) Replace(ctx context.Context, u cache.Unmarshaler, hints cache.ReplaceHints) error {
	if _, ok := i.seen.Load(hints.PartitionKey); !ok {
		if err := i.takeOver(ctx, hints.PartitionKey); err != nil {
			return err
		}
		i.seen.Store(hints.PartitionKey, nil)
	}
	return i.Cache.Replace(ctx, u, hints)
}

// takeOver stores an old record as MSAL itself would: Export sorts its entries by their own fields, so that what a
// naive accessor mixed into it of other users stays out.
func (i *importing) takeOver(ctx context.Context, partition string) error {
	var record document
	if err := i.Cache.Replace(ctx, &record, cache.ReplaceHints{PartitionKey: partition}); err != nil {
		return err
	}
	if !record.empty() {
		return nil // the shared cache's is newer
	}
	data, err := i.old.load(ctx, partition)
	if err != nil || len(data) == 0 {
		return err
	}
	record.data = data
	return i.Export(ctx, &record, cache.ExportHints{PartitionKey: partition})
}

// RemoveAccount signs out. The old record goes first: what is left of it would be taken over again.
func (i *importing) RemoveAccount(ctx context.Context, homeAccountID string) error {
	if err := i.old.remove(ctx, homeAccountID); err != nil {
		return err
	}
	return i.Cache.RemoveAccount(ctx, homeAccountID)
}

// document stands in for MSAL's memory.
type document struct{ data []byte }

func (d *document) Unmarshal(data []byte) error { d.data = data; return nil }
func (d *document) Marshal() ([]byte, error)    { return d.data, nil }
func (d *document) empty() bool                 { return len(d.data) <= len("{}") }
