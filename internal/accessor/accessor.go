package accessor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/issued"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/msaldoc"
	"github.com/msal-redis/msal-redis-go/internal/redisop"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
	"github.com/msal-redis/msal-redis-go/internal/workers"
)

// Options are what an Accessor is made with; all are needed.
type Options struct {
	Names      layout.Names
	Redis      *redisop.Redis
	Store      *tokenstore.Store
	Clock      *redistime.Clock
	Metrics    telemetry.Recorder
	Log        telemetry.Logger
	Tokens     *issued.Tokens
	Lineages   *issued.Lineages
	OnBehalfOf *issued.OnBehalfOf
	// Gated tells whether the gate is in use.
	Gated func() bool
	// SignOut signs accounts out, by their home account ids.
	SignOut func(context.Context, []string) error
	// Listen makes this process hear the removals of others. It is called after each Replace that was not answered at
	// once, and does nothing but the first time.
	Listen func()

	LocalTTL    time.Duration // how long what is known is relied on
	UserTTL     time.Duration
	FailClosed  bool          // errors of Redis fail MSAL's call
	CallsAtMost time.Duration // how long a call of MSAL that asks Entra ID takes

	Life    context.Context // ends with the Accessor
	Workers *workers.Group
}

// Accessor is MSAL's cache accessor.
type Accessor struct {
	// Lookups counts the look-ups of partitions.
	Lookups telemetry.Lookups

	o        Options
	managers *managers

	listUsed   atomic.Bool          // somebody has asked for all accounts, or stored one
	lastListed atomic.Pointer[[]id] // which were on the list when Redis last answered

	unknownKeyTold, pastGateTold sync.Once

	loaded func(m *manager, key string) // for tests: a partition is known, and is to be handed over
}

// New makes an Accessor. It asks Redis nothing.
func New(o Options) *Accessor { return &Accessor{o: o, managers: newManagers()} }

// id is the hashed name of a partition.
type id = layout.ID

// record is the record of the partition that MSAL calls key.
func (a *Accessor) record(key string) *tokenstore.Record {
	return a.o.Store.Of(layout.PartitionID(key), !msaldoc.IsAppKey(key))
}

// elapsed is the time since the process's start.
func (a *Accessor) elapsed() time.Duration { return time.Duration(a.o.Clock.Elapsed()) }
