// Command faultrun lets a fleet of processes take tokens while everything around them fails, and decides from their
// logs whether the library kept its word:
//
//	go run ./bench/faultrun --duration 60s --seed 7
//
// Six worker processes, which are this binary executed again, take tokens of hundreds of users and tenants: client
// credentials, claims challenges, silent refreshes, on-behalf-of, sign-ins and sign-outs, all at once. Faults are
// injected as a schedule made from the seed says: the same seed gives the same faults at the same times to the same
// targets (which call meets which fault is up to the machine). Redis is reached through Toxiproxy, and Entra ID is the
// emulator of package entratest.
//
// Where to read: kinds.go is what goes wrong and what is promised then; check.go decides; worker.go and
// load.go are the service; the other files are the stage. docs/reliability.md explains the report.
package main
