// Package harness is what the end-to-end tests share: those of the root, which list the promises, and those of tests/,
// which hold each of them in full. Real MSAL clients use the library on a real Redis and an Entra ID emulator.
//
// A World is a Redis and an Entra ID, with keys under a prefix that no other test has. An Instance is one Cache with
// its own Redis client, as a process has it; a process of its own, where a test says processes, is this test binary run
// again as a worker, which takes an Order and answers with an Outcome (internal/subprocess). A Deployment is the Redis
// of a World in one of the shapes of Topologies: the test's own, if it breaks it (Breakable), or shared by the
// package's tests where its start takes seconds (NewWorld).
//
// The Canary reads all that the library logs, measures and returns as an error in a run, in workers too, and fails the
// run if a secret is in it. So a helper that calls the library hands it the error.
//
// Each package of tests has Main as its TestMain. No package of the library imports this one (internal/arrows_test.go).
package harness
