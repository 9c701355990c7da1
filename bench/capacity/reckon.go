package main

import (
	"time"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// Reckoning is what a fleet asks for.
type Reckoning struct {
	Fleet
	Quiet, Mean      counts // a second: when no token becomes due, and over a token's life
	Start, Due, Gone burst  // all instances start; all tokens become due together; one app's tokens are forgotten
	Connections      [2]int // at least, and after a burst
	Bytes            int64  // in Redis's memory, its connections included
	Hourly           float64
}

// burst is what happens at an event beside what is always asked.
type burst struct {
	counts
	requests, delivered int
	waiting             int     // subscribed to a wake-up at once
	entries             int     // announcements that are read, each by one instance
	busiest             counts  // the busiest second
	read                float64 // announcements in it
}

// cpu is Redis's time for all of it.
func (b burst) cpu() time.Duration {
	return b.counts.cpu() + time.Duration(float64(b.entries)*microsecondsOfEntry*float64(time.Microsecond))
}

// load is the share of Redis's thread in the busiest second.
func (b burst) load() float64 {
	return (b.busiest.cpu() + time.Duration(b.read*microsecondsOfEntry*float64(time.Microsecond))).Seconds()
}

// When what is simulated happens: long enough after the start that the change log vouches, whatever OpTimeout is.
const (
	dueAfter  = 2 * time.Minute
	goneAfter = 4 * time.Minute
)

// atOnce is how many instances of all partitions are simulated at most.
const atOnce = 10_000

// reckon reckons a fleet.
func reckon(f Fleet) Reckoning {
	r := Reckoning{Fleet: f}
	r.steady()
	if f.Apps > 0 {
		r.bursts()
	}
	r.Mean = r.Quiet
	period := f.due().Seconds()
	r.Mean.add(r.Due.counts, 1/period)
	r.Hourly = float64(f.Apps) * 3600 / period // of users: one for each in use likewise
	r.Hourly += float64(f.Users) * 3600 / period
	r.Connections = f.connections()
	r.Bytes = bytesAtFirst + int64(f.Apps)*bytesOfApp + int64(f.Users)*bytesOfUser +
		int64(r.Connections[1])*bytesOfConnection
	return r
}

// steady is what is asked for all the time, which is exact: an instance reads the change log twice in LocalTTL, asks
// about each app every five minutes, and about each user twice in LocalTTL, at the first use that comes after that.
func (r *Reckoning) steady() {
	n := float64(r.Instances)
	half := r.LocalTTL / 2
	asks := max(r.Every, (half+r.Every-1)/r.Every*r.Every)
	if r.Apps > 0 {
		r.Quiet[heed] = n / r.readings().Seconds()
		r.Quiet[load] = n * float64(r.Apps) / max(vouchedFor, r.Every).Seconds()
	}
	r.Quiet[load] += float64(r.Users*r.UserOn) / asks.Seconds()
}

// bursts simulates some of the apps in full and takes all to be like them.
func (r *Reckoning) bursts() {
	f := r.Fleet
	f.Life = lastMinutes + time.Duration(float64(dueAfter)/f.RefreshAt) // due when it is looked at
	sample := min(f.Apps, max(1, atOnce/f.Instances))
	all := make([]second, int(goneAfter/time.Second)+1)
	for n := range sample {
		for i, one := range simulate(f, goneAfter, 0, uint64(n)) {
			all[i].counts.add(one.counts, 1)
			all[i].requests += one.requests
			all[i].delivered += one.delivered
			all[i].read += one.read
			all[i].subscribed += one.subscribed
		}
	}
	r.Start = r.burst(all[:int(dueAfter/time.Second)], sample, f.Apps)
	r.Due = r.burst(all[int(dueAfter/time.Second):int(goneAfter/time.Second)], sample, f.Apps)
	f.Life = 24 * time.Hour
	r.Gone = r.burst(simulate(f, goneAfter, dueAfter, f.Seed)[int(dueAfter/time.Second):], 1, 1)
}

// burst sums up seconds of some apps as of apps, without what is asked for all the time.
func (r *Reckoning) burst(seconds []second, sample, apps int) (b burst) {
	times := float64(apps) / float64(sample)
	requests, delivered, waiting, entries := 0, 0, 0, 0.0
	for _, s := range seconds {
		s.counts[heed] = 0 // an instance reads the log once for all
		b.counts.add(s.counts, times)
		requests, delivered = requests+s.requests, delivered+s.delivered
		// Of more announcements than the log keeps it tells none: all is in doubt then.
		read := min(float64(s.read)*times, r.Quiet[heed]*layout.ChangeLogLength)
		entries += read
		waiting = max(waiting, s.subscribed)
		var all counts
		all.add(s.counts, times)
		if all.cpu() > b.busiest.cpu() {
			b.busiest, b.read = all, read
		}
	}
	b.requests = int(float64(requests)*times + 0.5)
	b.delivered = int(float64(delivered)*times + 0.5)
	b.entries = int(entries + 0.5)
	b.waiting = int(float64(waiting)*times + 0.5)
	return b
}
