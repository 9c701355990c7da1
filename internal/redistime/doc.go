// Package redistime is Redis's time, as a type, and this process's offset to it.
//
// What stands in Redis is dated by Redis: the instances of a fleet need not agree on the time, only reach the same
// Redis. Three times are met in one process, and do not mix without a conversion that has a name:
//
//   - [Time] is Redis's, in microseconds. [Clock.Now] estimates it, [Clock.Observe] learns it.
//   - The wall clock is the machine's, which MSAL reads ([Clock.Wall]). [Clock.Shift] translates its seconds.
//   - [Clock.Elapsed] is this process's, in nanoseconds, and nobody sets it: what ages within the process is dated by
//     it.
//
// # Invariants
//
// Now always moves on, unless Redis's clock, or what is known of it, is set back by the tolerance of two seconds or
// more. While nothing is known of Redis's clock it is taken for ours.
//
// # Concurrency
//
// Everything is safe for concurrent use. One mutex guards the offset and the last time that was told; nothing is called
// and no other mutex taken under it, but for Wall.
package redistime
