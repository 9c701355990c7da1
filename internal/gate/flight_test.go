package gate

import (
	"context"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/answers"
)

// What each caller of a flight gets, at each state of it.
func TestWhatACallerGetsInEachStateOfAFlight(t *testing.T) {
	old, lateOld, fresh, failure := &answers.Answer{}, &answers.Answer{}, &answers.Answer{}, &answers.Answer{}
	for _, impatient := range []bool{false, true} {
		for _, landed := range []string{"", "fresh", "failure", "failure with old"} {
			for _, serves := range []bool{false, true} {
				f := &flight{impatient: make(chan struct{}), landed: make(chan struct{})}
				if impatient {
					f.serve(old)
				}
				switch landed {
				case "fresh":
					f.result = result{answer: fresh, outcome: outcomeAsked}
				case "failure":
					f.result = result{answer: failure, outcome: outcomeThrottled}
				case "failure with old":
					f.result = result{answer: failure, old: lateOld, outcome: outcomeThrottled}
				}
				ctx, cancel := context.WithCancel(t.Context())
				if landed != "" {
					close(f.landed)
				} else if !impatient || !serves {
					cancel()
				}
				got := f.wait(ctx, func(a *answers.Answer) bool { return serves && a != nil })
				cancel()
				want := result{outcome: outcomeLeft}
				switch {
				case landed == "fresh":
					want = f.result
				case landed == "failure" || landed == "failure with old" && !serves:
					want = f.result
				case landed == "failure with old":
					want = result{answer: lateOld, outcome: outcomeStale}
				case impatient && serves:
					want = result{answer: old, outcome: outcomeStale}
				}
				if got.answer != want.answer || got.outcome != want.outcome {
					t.Errorf("impatient %v, landed with %q, the old token serves %v: %+v, want %+v",
						impatient, landed, serves, got, want)
				}
			}
		}
	}
}
