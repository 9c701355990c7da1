// Command capacity reckons what a fleet that is larger than any at hand asks of Redis and of Entra ID:
//
//	go run ./bench/capacity -results docs
//
// prints the tables of docs/capacity.md and draws its picture. -help lists what can be changed.
//
// What one multiplication says is multiplied (reckon.go). What is no formula is simulated (simulation.go, gate.go): who
// looks, who asks and who waits when all instances start, and when a token that all of them hold becomes due.
// Partitions do not touch each other, so some are simulated in full, each with every instance, and the rest is taken to
// be like them. The change log, which all partitions of an instance share, is read on a clock of its own.
//
// The simulation follows the rules of packages accessor, answers, gate, lock and tokenstore. It has no Redis that is
// busy: a command takes one round trip, however many there are. Where Redis's time comes to more than its threads have,
// everything takes longer than is said, and waiters look more often.
//
// What one instance costs is measured (costs.go), and the whole is held against real fleets by TestFleet and
// TestLongFleet.
package main
