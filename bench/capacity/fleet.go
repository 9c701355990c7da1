package main

import "time"

// Fleet is instances that take tokens, and how they do it.
type Fleet struct {
	Instances int
	Apps      int           // tenants whose app tokens are in use, on every instance
	Users     int           // signed-in users in use
	UserOn    int           // instances to which a user's calls come
	Every     time.Duration // between the calls for one partition on one instance
	Within    time.Duration // the time over which the instances make their first calls
	Life      time.Duration // of a token

	// Options of msalredis, and of the Redis client.
	LocalTTL, LockTTL, OpTimeout time.Duration
	RefreshAt                    float64
	PoolSize                     int

	RoundTrip time.Duration // to Redis and back
	Entra     time.Duration // what a token request takes

	Seed uint64
}

// defaults are the library's, on a machine of one or two cores, and Entra ID's.
func defaults() Fleet {
	return Fleet{
		Instances: 100, Apps: 100, UserOn: 1, Every: time.Second, Within: time.Second, Life: time.Hour,
		LocalTTL: 10 * time.Second, LockTTL: 2 * time.Second, OpTimeout: 250 * time.Millisecond, RefreshAt: 0.5,
		PoolSize: 20, RoundTrip: time.Millisecond, Entra: 300 * time.Millisecond, Seed: 1,
	}
}

const (
	lastMinutes  = 5 * time.Minute  // of a token's life, in which MSAL refuses it (internal/msaldoc)
	vouchedFor   = 5 * time.Minute  // internal/tokenstore/changelog.go
	announcedFor = 30 * time.Second // likewise
	soonest      = 5                // after so many seconds MSAL asks again for a token that is being refreshed
	soonSpread   = 26               // and so many more by chance: tokenresp.Response
)

// doubtedFor is for how long an announced partition is asked about by itself.
func (f Fleet) doubtedFor() time.Duration { return announcedFor + 4*f.OpTimeout }

// due is when a token becomes due, from when it was asked for.
func (f Fleet) due() time.Duration {
	return (time.Duration(f.RefreshAt * float64(f.Life-lastMinutes))).Truncate(time.Second)
}

// readings is the time between two readings of the change log by an instance: at the first use of one of its partitions
// that comes half of LocalTTL after the last one.
func (f Fleet) readings() time.Duration {
	return f.LocalTTL/2 + f.Every/time.Duration(2*max(1, f.Apps))
}

// connections are those of a fleet. At least: each instance has one to hear the others and one to ask. After a burst it
// has as many to ask as the library takes of the pool.
func (f Fleet) connections() [2]int { return [2]int{2 * f.Instances, (1 + f.PoolSize/2) * f.Instances} }
