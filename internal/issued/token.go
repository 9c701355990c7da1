package issued

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/bounded"
	"github.com/msal-redis/msal-redis-go/internal/layout"
	"github.com/msal-redis/msal-redis-go/internal/redistime"
	"github.com/msal-redis/msal-redis-go/internal/tokenreq"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
	"github.com/msal-redis/msal-redis-go/internal/tokenstore"
)

// secretsAtMost bounds what is remembered of secrets: about 200 bytes each.
const secretsAtMost = 65536

// Token is what the gate knows of a token that passed it and that MSAL is about to store.
type Token struct {
	Stamp redistime.Time // orders it among others of its place
	// Session is when the sign-in that it comes of was asked for; of a token that comes of none, when it was itself.
	Session redistime.Time
	Began   time.Duration // when that was, since the process's start, where it was asked for here; else 0
	tokenreq.Terms
	// Owners are the partitions of its user, where its record may not know of it when that user signs out.
	Owners []layout.ID
}

// Tokens remembers the tokens that passed the gate.
type Tokens struct {
	store *tokenstore.Store
	clock *redistime.Clock
	known *bounded.Recent[tokenreq.Hash, Token]

	unread atomic.Bool // an answer has passed that nobody has read
}

// NewTokens makes Tokens. The store knows what was removed, the clock is that of its process.
func NewTokens(store *tokenstore.Store, clock *redistime.Clock) *Tokens {
	return &Tokens{store: store, clock: clock, known: bounded.NewRecent[tokenreq.Hash, Token](secretsAtMost)}
}

// Of is what is known of a secret; false: nothing is.
func (ts *Tokens) Of(secret string) (Token, bool) {
	if secret == "" {
		return Token{}, false
	}
	return ts.known.Of(tokenreq.HashSecret(secret))
}

// Note remembers where an answer's tokens come from. Their stamp is the answer's.
func (ts *Tokens) Note(a *tokenresp.Answer, from Token) {
	from.Stamp = a.Stamp
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if secret := a.Member(name); secret != "" {
			ts.known.Set(tokenreq.HashSecret(secret), from)
		}
	}
}

// PassUnread takes note of an answer that passes the gate without being read.
func (ts *Tokens) PassUnread() {
	if !ts.unread.Load() {
		ts.unread.Store(true)
	}
}

// Passed tells whether a token may have passed the gate: after an answer that was not read, any token may.
func (ts *Tokens) Passed(secret string) bool {
	_, known := ts.Of(secret)
	return known || ts.unread.Load()
}

// Ended tells whether a removal has ended what a token belongs to.
func (ts *Tokens) Ended(t Token) bool {
	return slices.ContainsFunc(t.Owners, func(pid layout.ID) bool { return ts.store.Ended(pid, t.Session, t.Began) })
}

// Session is when what a token belongs to was asked for. A sign-in may have been dated by another Redis server than a
// sign-out; of their clocks the one that was ahead counts.
func (ts *Tokens) Session(t Token) redistime.Time {
	if t.Began == 0 {
		return t.Session
	}
	return max(t.Session, ts.clock.Latest(int64(t.Began)))
}
