package main

import "time"

// command is what Redis is asked.
type command int

const (
	load        command = iota // look at a partition
	store                      // MSAL's Export
	look                       // look for an answer
	keep                       // an answer, or a pause
	enlist                     // an answer, with its partition
	lease                      // try for a lease
	release                    // give it back; publishes the wake-up
	heed                       // read the change log
	announce                   // in the change log
	remove                     // forget an app's tokens, or sign a user out
	forget                     // an answer, in a removal
	unlist                     // what a removal has removed
	publish                    // a removal
	subscribe                  // to a wake-up
	unsubscribe                // from it
	commands
)

// names are those of the scripts' files, and of the commands that are none.
var names = [commands]string{
	"load", "store", "look", "respond", "enlist", "obtain", "release", "heed", "announce", "signout", "forget", "zrem",
	"publish", "subscribe", "unsubscribe",
}

// counts says how often each command is sent.
type counts [commands]float64

func (c *counts) add(other counts, times float64) {
	for i, n := range other {
		c[i] += n * times
	}
}

// sum is the number of commands.
func (c counts) sum() (n float64) {
	for _, one := range c {
		n += one
	}
	return n
}

// cpu is the time of Redis that the commands take.
func (c counts) cpu() time.Duration {
	us := 0.0
	for i, n := range c {
		us += n * microseconds[i]
	}
	return time.Duration(us * float64(time.Microsecond))
}

// microseconds is what one command takes of Redis's thread, measured by Redis itself while one instance takes tokens of
// 200 tenants: TestLongCosts, medians on 2 cores that had much other work, and Redis 7.0.15. On a quiet machine they
// are likely to be less. The way to Redis and back is not in it.
var microseconds = [commands]float64{
	load: 36, store: 86, look: 26, keep: 48, enlist: 91, lease: 26, release: 19, heed: 20, announce: 56,
	remove: 71, forget: 31, unlist: 5, publish: 4, subscribe: 4, unsubscribe: 4,
}

// What is kept, in bytes of Redis's memory. Apps: measured by TestLongCosts; users: docs/azure.md; connections: what
// Redis grew by in TestLongFleet.
const (
	bytesOfApp        = 3150 // an app's record in a tenant, its answer and its list
	bytesOfUser       = 4944 // a user's record: access, refresh and ID token, account
	bytesOfConnection = 10_000
	bytesAtFirst      = 700_000 // compiled scripts, and what Redis makes once
)

// microsecondsOfEntry is what an announcement costs that is read from the change log.
const microsecondsOfEntry = 0.5
