// Package long marks the tests that take long. `make test` leaves them out and says so; `make test-long`, which sets
// MSALREDIS_LONG=1, runs them and no other.
//
// Such a test is named TestLong…, so that one pattern selects it, and its first statement is [Test], so that nobody
// waits for it by accident. TestNameAndMarkGoTogether holds both. Where a short form shows the same, it stands beside
// the long one, under the name without Long, and both call one function that has the sizes as its parameters.
package long
