package redistime

import "time"

// Time is a time by Redis's clock, in microseconds since 1970. 0 is no time.
type Time int64

// Micros is t as it is written in Redis.
func (t Time) Micros() int64 { return int64(t) }

// Seconds is t in whole seconds, as Entra ID and MSAL write times.
func (t Time) Seconds() int64 { return int64(t) / time.Second.Microseconds() }

// OfSeconds is a time that is written in whole seconds.
func OfSeconds(n int64) Time { return Time(n * time.Second.Microseconds()) }

// Add is t and a while.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Microseconds()) }

// Sub is the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Microsecond }

// of is what Redis's clock says when it is ahead of a wall clock by an offset.
func of(wall time.Time, offset time.Duration) Time { return Time(wall.Add(offset).UnixMicro()) }

// less is what t is ahead of a wall clock.
func (t Time) less(wall time.Time) time.Duration { return time.UnixMicro(int64(t)).Sub(wall.Round(0)) }
