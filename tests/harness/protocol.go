package harness

import (
	"time"
)

type WorkerConfig struct {
	Redis                   Address
	Prefix, Keys, Entra, CA string
	// Zero: LocalTTL its default, the others as in [Options].
	LocalTTL, LockTTL, OpTimeout time.Duration
	Pressed                      int // goroutines that allocate all the time
}

// Order is what a worker does: N goroutines acquire the same thing at once.
type Order struct {
	Op        string // app, silent, obo, azsecret, azcert, signout
	Tenant    string
	Scopes    []string
	Account   string
	Assertion string
	N         int
	CertPEM   string        // azcert: certificate and key
	Timeout   time.Duration // of each caller's context
	Split     bool          // each scope in a goroutine of its own rather than all in one request
	Accounts  int           // silent: of as many users of ManyAccounts, by chance
	Calls     int           // of each goroutine; 0: one
}

type Outcome struct {
	Errors  []string
	Tokens  []string // hashes
	Slowest time.Duration
	Now     int64 // the worker's clock, in seconds
}
