package gate

import (
	"time"

	"github.com/msal-redis/msal-redis-go/internal/answers"
	"github.com/msal-redis/msal-redis-go/internal/tokenresp"
)

// The outcomes of a token request of MSAL at the gate, in metrics and spans.
const (
	outcomeAsked     = "asked"     // Entra ID was asked, and gave a token
	outcomeShared    = "shared"    // the fleet had an answer
	outcomeWaited    = "waited"    // another caller or instance brought it meanwhile
	outcomeStale     = "stale"     // a token in its last five minutes: Entra ID gave no new one within two seconds
	outcomeThrottled = "throttled" // Entra ID's 429 or Retry-After, from a request or from the fleet's pause
	outcomeRefused   = "refused"   // Entra ID's refusal, likewise
	outcomeFailed    = "failed"    // Entra ID failed, or was not reached from here; with FailClosed also Redis
	outcomeLeft      = "left"      // the caller's context ended
	outcomeElsewhere = "elsewhere" // a refresh ahead that is another instance's, or may not be yet
)

// outcomeOf is the outcome of a request that was made, or that a pause kept from being made.
func outcomeOf(a *answers.Answer) string {
	switch a.Outcome(time.Now()) {
	case tokenresp.Answered:
		return outcomeAsked
	case tokenresp.Refused:
		return outcomeRefused
	case tokenresp.Throttled:
		return outcomeThrottled
	}
	return outcomeFailed
}

const aheadRefreshed = "refreshed"

// OutcomesAhead are those of a refresh ahead.
var OutcomesAhead = []string{
	aheadRefreshed, outcomeElsewhere, outcomeThrottled, outcomeRefused, outcomeFailed,
}

// outcomeAhead is a flight's outcome as that of a refresh ahead.
func outcomeAhead(outcome string) string {
	switch outcome {
	case outcomeAsked:
		return aheadRefreshed
	case outcomeShared, outcomeWaited:
		return outcomeElsewhere // another instance was quicker
	}
	return outcome
}
