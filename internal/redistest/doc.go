// Package redistest starts real Redis servers for tests and ends them.
//
//	s := redistest.Start(t)       // a redis-server on a free port of 127.0.0.1
//	rdb := s.Client()             // closed with the test
//	key := redistest.Prefix(t) + ":thing"
//
// [StartReplicated], [StartCluster] and [StartTLS] start the other shapes in which Redis is met; [Launch] is [Start]
// for programs that are not tests. Nothing is persisted unless [Persistent] says so, and nothing listens beyond
// loopback.
//
// A server can be made to misbehave: [Server.Kill], [Server.Freeze] (it accepts connections and never answers),
// [Server.ReadOnly], [Server.FillMemory].
//
// A machine without redis-server fails the tests, naming the Debian package; it does not skip them: a green run that
// tested nothing is worse than a red one.
//
// On Linux a server dies with the process that started it, however that ends. Elsewhere a killed test leaves it
// running.
//
// Errors: in a test every helper fails the test itself. A server that came from [Launch] has no test to fail, and its
// helpers panic.
package redistest
