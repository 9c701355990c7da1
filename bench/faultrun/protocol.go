package main

import (
	"cmp"
	"time"
)

// The parent gives a worker one setup, then orders, and gets records (internal/subprocess).

const workerRole = "faultrun worker"

// clockMark is the environment variable by which a worker that was built for it runs with another clock, in seconds. It
// is the tests' own, so that the go command finds what their worker with another clock was built of (tests/clocks).
const clockMark = "MSALREDIS_TEST_CLOCK"

// markField names, in a token request to the emulator, the worker that sent it.
const markField = "faultrun_worker"

// person is somebody who signs in, or on whose behalf an API acts.
type person struct {
	Account string // home account id
	Name    string
	Tenant  string
	Guest   string // another tenant, where the person is a guest
	// Assertion is the token that the API received; empty: the person signs in.
	Assertion string `json:",omitempty"`
}

// setup is what a worker needs to know.
type setup struct {
	Worker     int
	Began      int64 // of the run, unix nanoseconds: the zero of all times in the log
	Clock      int   // what the worker's clock is off, in seconds
	Redis      endpoint
	Prefix     string
	Keys       string
	Entra, CA  string
	Secret     string
	Other      string // the secret of the other app
	Seed       uint64
	Goroutines int
	Pause      time.Duration
	Verbose    bool
	Mix        []string
	Tenants    []string
	People     []person
	Mine       []int // of People: whose sign-ins and sign-outs are this worker's affair
	Terms      terms
}

// terms are the settings on which the bounds rest.
type terms struct {
	Workers                      int
	LocalTTL, LockTTL, OpTimeout time.Duration
	CallTimeout                  time.Duration // of every caller's context
	Usable                       time.Duration // of a token's life: less MSAL's five minutes
	Rotate                       bool          // a refresh token dies when it is redeemed
}

// due is when a token becomes due for a refresh: the default of Options.RefreshAt.
func (t terms) due() time.Duration { return t.Usable / 2 }

// endpoint is where Redis is.
type endpoint struct {
	Topology string
	Addrs    []string
	Master   string
	// Through maps a server's address to that of the proxy before it.
	Through map[string]string
}

// order is what a worker is to do, and how.
type order struct {
	// signin: all of mine once; load: until rest; rest: end the load and say so; rollcall: a silent call for everyone, for
	// a scope of its own; verify: redeem everyone's refresh token; close: close the Cache and look for leaked goroutines;
	// egress: what becomes of requests to Entra ID from now on; burst: app tokens of many tenants at once, for the scope
	// How; deaden: the connections to Redis that there are go silent.
	Do  string
	How string `json:",omitempty"`
}

// record is a line of a worker's log.
type record struct {
	// done: an order is carried out; begin and call: of a call; late: the processor came
	// late, from Call.Start to Call.End; away and back: the library says that of Redis, at Call.Start;
	// log: a line of its log.
	Kind  string
	Call  call   `json:",omitzero"`
	Error string `json:",omitempty"` // done after close: the leaked goroutines; log: the line
}

// The flows of a call.
const (
	flowApp     = "app"
	flowSilent  = "silent"
	flowOBO     = "obo"
	flowSignIn  = "signin"
	flowSignOut = "signout"
	flowVerify  = "verify"
	// An API challenges the app's token, and an administrator has all of an app's tokens forgotten.
	flowChallenge = "challenge"
	flowForget    = "forget"
	// A user signs out on whose behalf an API acts.
	flowDismiss = "dismiss"
)

// call is one call of the library, as its caller saw it. Times count from the beginning of the run.
type call struct {
	Worker     int
	Flow       string
	Tenant     string
	Client     string `json:",omitempty"` // empty: the first app
	CAE        bool   `json:",omitempty"` // the MSAL client declares CP1
	Via        string `json:",omitempty"` // the MSAL client's own tenant, where it is another
	User       string `json:",omitempty"` // home account id
	Scope      string
	Start, End time.Duration // End 0: it never returned
	Fail       string        `json:",omitempty"` // a class of failure; empty: it succeeded
	Error      string        `json:",omitempty"`
	Token      token         `json:",omitzero"`
}

// Classes of failure.
const (
	failNoAccount = "no account" // the cache knows nothing of the user
	failGrant     = "invalid_grant"
	failEntra     = "entra" // Entra ID refused for a passing reason, or could not be reached
	failDeadline  = "deadline"
	failRedis     = "redis"
	failPanic     = "panic" // not the transport's, but of what called it
	failOther     = "other"
)

// token is what an access token says of itself; Hash stands for it.
type token struct {
	Hash     string
	Subject  string // oid; of an app's token empty
	Tenant   string // tid
	Client   string // azp
	CAE      bool   // xms_cc has CP1
	Audience string
	Scopes   string        // scp
	Session  string        // sid: of which sign-in it is
	Issued   time.Duration // iat and exp, in whole seconds
	Expires  time.Duration
}

// identity is what a token is for.
type identity struct {
	Tenant, User, Scope string
	Client              string `json:",omitempty"`
	CAE                 bool   `json:",omitempty"`
}

// removes tells whether the call takes tokens away, rather than get one.
func (c call) removes() bool {
	return c.Flow == flowSignOut || c.Flow == flowForget || c.Flow == flowDismiss
}

// owner is whose tokens a token is one of: a user's, or those of a tenant's app.
func (i identity) owner() string { return cmp.Or(i.User, i.Tenant+i.Client) }

func (c call) identity() identity { return identity{c.Tenant, c.User, c.Scope, c.Client, c.CAE} }

// request is one token request, as the emulator saw it.
type request struct {
	ID      int
	Worker  int
	Grant   string
	For     identity
	Session string // of the refresh token that it redeems
	Claims  bool   // it carries a claims challenge
	Arrived time.Duration
	// Answered is 0 for one without an answer.
	Answered time.Duration
	Status   int
	Error    string
}

// life is what became of a worker process.
type life struct {
	Worker     int
	Start, End time.Duration
	Killed     bool
	Closed     bool   // it was told to close, and did
	Leaked     string // goroutines
	Hung       string `json:",omitempty"` // the order that it did not carry out in time, for which it was killed
}

// noteAway marks, among what a busy machine does, that the library found Redis away. The rest is processes that came
// late.
const noteAway = "away"

// injected is a fault that happened.
type injected struct {
	Kind       string
	Start, End time.Duration
	Worker     int      `json:",omitempty"` // whom it hit
	Users      []string `json:",omitempty"` // whose records it damaged
	Note       string   `json:",omitempty"`
}
