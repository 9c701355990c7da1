package tokenstore

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/maypok86/otter/v2"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/heapsize"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/workers"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// ID is the hashed name of a partition (pid) or of a request identity (rid).
type ID = layout.ID

// Options are what a Store is made with; all are needed.
type Options struct {
	Names      layout.Names
	Serializer serializer.Serializer // a panic of it is an error
	Redis      *redisop.Redis
	Clock      *redistime.Clock
	Metrics    telemetry.Recorder
	Log        telemetry.Logger
	LocalTTL   time.Duration // for how long callers rely on what was confirmed
	UserTTL    time.Duration
	OpTimeout  time.Duration // after which the caller of an operation gives it up
	LocalBytes int64         // of records, and of what waits: each of them
	// AskMend asks the other instances to mend a record that this process finds damaged and does not know.
	AskMend func(context.Context, ID)
	// OnStored is told of what was stored of a user or an app.
	OnStored func(Batch)

	Life    context.Context // ends with who asks
	Workers *workers.Group
}

// Store is this process's knowledge of partitions.
type Store struct {
	o        Options
	records  bounded.Cache[ID, *Record]
	mu       sync.Mutex // one holder per partition
	pending  *pending
	removals *removals
	log      *changeLog
	issued   atomic.Int64 // the latest session that was issued here
}

// New makes a Store. It asks Redis nothing.
func New(o Options) *Store {
	st := &Store{o: o, removals: newRemovals()}
	st.pending, st.log = newPending(st), newChangeLog(st)
	st.records = bounded.New(otter.Options[ID, *Record]{
		MaximumWeight: uint64(o.LocalBytes),
		Weigher: func(_ ID, r *Record) uint32 {
			return uint32(min(recordSize+r.Known().Snapshot.Size(), 1<<31))
		},
		OnAtomicDeletion: func(e otter.DeletionEvent[ID, *Record]) {
			// A manager may still hold it: from now on it must come and ask for the new holder. Replacing a
			// holder by itself, which weighs it anew, is no eviction.
			if e.Cause != otter.CauseReplacement {
				e.Value.evicted.Store(true)
			}
		},
	})
	return st
}

// recordSize is about what a record takes beside what is known of it: the holder, its name, and its place in the cache,
// which is a node of 64 bytes and a slot in a table.
var recordSize = heapsize.Of(int(unsafe.Sizeof(Record{}))) + heapsize.Of(int(unsafe.Sizeof(Known{}))) + 24 + 64 + 16

// Size is what the records take of memory.
func (st *Store) Size() int64 { return int64(st.records.WeightedSize()) }

// Close ends the Store's own goroutines. What waits is not pushed: see [Store.Push].
func (st *Store) Close() {
	st.records.InvalidateAll()
	st.records.StopAllGoroutines()
}

func (st *Store) elapsed() time.Duration { return time.Duration(st.o.Clock.Elapsed()) }

// background runs f with a context that ends with the Store's life; false: it has ended.
func (st *Store) background(f func(context.Context)) bool {
	return st.o.Workers.Run(func() { f(st.o.Life) })
}

func digits(n int64) string { return strconv.FormatInt(n, 10) }
