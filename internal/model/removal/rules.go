package removal

import "strings"

// Rules are a set of rules of the mechanism. The numbers are those of doc.go.
type Rules uint64

// The rules.
const (
	// KeepT (1): an instance keeps the greatest T that it knows, also when it holds nothing that T removes.
	KeepT Rules = 1 << iota

	// CountHeld (2): what an instance holds counts only if its session is not before T.
	CountHeld
	// CountWaiting (2): so does what waits to be written.
	CountWaiting
	// CountArriving (2): so does what comes of a request that was under way.
	CountArriving
	// CountAnswers (2): so does an answer, by the time at which it was asked for, each time it is used.
	CountAnswers
	// AnswerLooksAtOwner (2): who reads an answer from Redis reads its owner's tombstone too.
	AnswerLooksAtOwner

	// SessionFromRedis (3): the session is Redis's time, asked for before the sign-in is sent; else an estimate.
	SessionFromRedis
	// SessionOfSent (3): a refresh has the session of the token that was sent; else of the record as it is replaced.
	SessionOfSent

	// TFromRedis (4): T of a first try is Redis's time in the script; else the estimate at asking.
	TFromRedis
	// TAboveRecord (4): and later than every session in the record.
	TAboveRecord
	// TAboveCaller (4): and later than every session that who signs out holds or has given.
	TAboveCaller
	// LateAsOfAsking (4): a first try that is carried out after the window has T of its asking.
	LateAsOfAsking
	// WindowWithinTimeout (4): the window ends before the caller gives up, the error of its clock taken off; else it
	// ends later.
	WindowWithinTimeout
	// RetryAsOfAsking (4): a retry has T of its asking.
	RetryAsOfAsking

	// SessionFirst (5): of one field the later session stays, and of one session the later stamp; else the later
	// stamp alone.
	SessionFirst

	// StoreRefuses (6): the script that stores refuses what does not count.
	StoreRefuses
	// RefuseOnlyThose (6): a refusal drops what was refused; else all that is held of the partition.
	RefuseOnlyThose

	// LookLearnsT (7): a look learns T from Redis.
	LookLearnsT
	// LookKnowsT (7): what a look brings is held against the T that is known when its answer is processed.
	LookKnowsT
	// EmptyByForce (7): MSAL's memory is emptied of what no Export told when T rises.
	EmptyByForce
	// EmptyArrivals (7): and at each hand-over after, of what came in by requests that were under way when T rose.
	EmptyArrivals
	// SecretKnown (7): the session of a token that no Export told is known by its secret; else the request that uses
	// it counts as a new session.
	SecretKnown

	// TBack (8): looks and stores bring the known T to Redis, which merges it.
	TBack

	// AgedNotServed (9): what is unconfirmed for a tombstone's life is not served once Redis answers.
	AgedNotServed
	// AgedNotRestored (9): nor restored.
	AgedNotRestored
	// AgedNotPushed (9): nor is what waits pushed.
	AgedNotPushed
	// AgedNotStored (9): nor is what is refreshed from it kept, where Redis has answered since.
	AgedNotStored
	// AgePassesOn (9): what is refreshed from it is as old.
	AgePassesOn
	// OutlivesAnswers (9): a tombstone lives longer than any answer.
	OutlivesAnswers

	// NeverBack (10): times that a process gives never go back; times and Ts that it learns raise them.
	NeverBack

	// LiftSession (11): the tombstone says when it was written. A session from Redis's clock that is not before that
	// counts as later than T, and is stored as of T.
	LiftSession
	// TAboveTombstone (12): T of a first try is later than the tombstone.
	TAboveTombstone

	end
)

// All are the rules that hold.
const All = end - 1

var names = [...]string{
	"KeepT", "CountHeld", "CountWaiting", "CountArriving", "CountAnswers", "AnswerLooksAtOwner", "SessionFromRedis",
	"SessionOfSent", "TFromRedis", "TAboveRecord", "TAboveCaller", "LateAsOfAsking",
	"WindowWithinTimeout", "RetryAsOfAsking",
	"SessionFirst", "StoreRefuses", "RefuseOnlyThose", "LookLearnsT", "LookKnowsT", "EmptyByForce",
	"EmptyArrivals", "SecretKnown",
	"TBack", "AgedNotServed",
	"AgedNotRestored", "AgedNotPushed", "AgedNotStored", "AgePassesOn", "OutlivesAnswers", "NeverBack", "LiftSession",
	"TAboveTombstone",
}

func (r Rules) has(rule Rules) bool { return r&rule != 0 }

func (r Rules) String() string {
	var all []string
	for i, name := range names {
		if r.has(1 << i) {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}
