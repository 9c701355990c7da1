package main

import "time"

// The parent and a worker talk in lines of JSON: through the worker's stdin one setup, then loads; through its stdout
// one reply to each. Secrets come this way because arguments and environments can be read by other processes. The end
// of stdin is the end of the worker, and the kernel closes a pipe however its other side died: no worker outlives the
// parent.
//
// This is internal/subprocess by hand: the example imports nothing internal, so that its folder can be copied
// elsewhere.

// workerMark is the environment variable that makes the executable a worker.
const workerMark = "MSALREDIS_FLEET_WORKER"

// token is what a goroutine asks for.
type token struct{ Tenant, Scope string }

func (t token) String() string { return t.Tenant + " " + t.Scope }

type setup struct {
	Worker     int
	System     string
	Redis      string // the URL, for its password, database and TLS name
	RedisAddr  string // where to find it: the proxy
	Prefix     string
	Keys       string
	Entra      string // host:port of the emulator; "": the real one
	CA         []byte
	ClientID   string
	Secret     string
	Goroutines int
	Seed       uint64
	LockTTL    time.Duration

	Verbose     bool
	WithoutGate bool
}

// load is what every goroutine of a worker does: ask for every token, once; or, where For says so, for one after
// another with a pause, until it is over.
type load struct {
	Tokens []token
	For    time.Duration
	Pause  time.Duration
}

// reply says that a setup is done, or what came of a load.
type reply struct {
	Trouble string `json:",omitempty"`
	result
}

type result struct {
	Latencies  []int64   // of each AcquireToken that gave a token, in microseconds
	Errors     int       // how many gave none
	FirstError string    `json:",omitempty"`
	Control    []int64   `json:",omitempty"` // of each call that needs Redis alone (see control), in microseconds
	Sent       []request `json:",omitempty"` // token requests that left this process during the load
}

// request is a token request on the wire.
type request struct {
	Worker int
	Token  token
	At     time.Time
}
