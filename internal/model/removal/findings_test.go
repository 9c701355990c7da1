package removal

import (
	"slices"
	"strings"
	"testing"
)

// finds explores without each of some rules, and wants a trace that breaks an invariant and has, or has not, a step.
// With all the rules nothing is broken there: TestLongNoOrderOfStepsBreaksAnInvariant.
func finds(t *testing.T, space, step string, has bool, rules map[Rules]string) {
	t.Helper()
	for rule, broken := range rules {
		t.Run(rule.String(), func(t *testing.T) {
			r := lacks(t, rule, space, broken)
			if slices.ContainsFunc(r.Trace, func(s string) bool { return strings.Contains(s, step) }) != has {
				t.Errorf("has %q in its trace: %v, want %v", step, !has, has)
			}
		})
	}
}

// A sign-out that comes late, or is tried again, removes a sign-in that came after it.
func TestALateSignOutRemovesALaterSignIn(t *testing.T) {
	finds(t, "late sign-outs", "carries out the sign-out that was given up", true,
		map[Rules]string{LateAsOfAsking: LaterSurvives, WindowWithinTimeout: LaterSurvives})
	finds(t, "late sign-outs", "when it is tried again", true, map[Rules]string{RetryAsOfAsking: LaterSurvives})
}

// An instance that was away for longer than a tombstone lives brings back what was removed, by each of four ways.
func TestAnInstanceThatWasAwayForLongerThanATombstone(t *testing.T) {
	finds(t, "away", "more than a tombstone's life passes", true, map[Rules]string{
		AgedNotRestored: NotStored, AgedNotPushed: NotServed, AgedNotStored: NotStored, AgePassesOn: NotStored})
}

// A sign-in for which scopes were declined stands in MSAL's memory, and Export never told of it.
func TestADeclinedSignInStaysInMSALsMemory(t *testing.T) {
	finds(t, "declined", "stays in MSAL's memory", true,
		map[Rules]string{EmptyByForce: NotServed, EmptyArrivals: NotServed})
	finds(t, "declined, nobody else", "stays in MSAL's memory", true, map[Rules]string{SecretKnown: NotServed})
}

// The message of a sign-out is lost: nobody hears of it in the trace.
func TestALostMessage(t *testing.T) {
	finds(t, "cut off", "hears of the removal", false, map[Rules]string{LookLearnsT: NotServed})
	finds(t, "plain", "hears of the removal", false, map[Rules]string{StoreRefuses: NotStored})
}

// What no rule repairs is a bound of the design: each is shown with all the rules.
func TestWhatNoRuleRepairs(t *testing.T) {
	for _, tt := range []struct {
		bound  string
		b      Bounds
		broken string
	}{
		{"Redis's clock goes back between a sign-out and a sign-in",
			Bounds{Instances: 2, SignIns: 2, SignOuts: 1, ClockBack: 3}, LaterSurvives},
		{"Redis loses a sign-out before everybody has heard of it",
			Bounds{Instances: 2, SignIns: 1, SignOuts: 1, Loss: true, Strict: true}, NotStored},
		{"an instance is killed while its sign-out waits",
			Bounds{Instances: 2, SignIns: 1, SignOuts: 1, Crash: true, Late: true, Strict: true}, GoneInTheEnd},
		{"an instance that is cut off for longer than a tombstone lives loses what it had not stored",
			Bounds{Instances: 2, SignIns: 2, Cuts: 1, Aging: true, Strict: true}, KeptInTheEnd},
		{"a time that is an estimate is no nearer to another than its error",
			Bounds{Instances: 2, SignIns: 2, SignOuts: 1, Cuts: 1, ClockError: 1, Strict: true}, NotServed},
	} {
		t.Run(tt.bound, func(t *testing.T) {
			r := Explore(All, tt.b, 1_000_000)
			log(t, r)
			if r.Broken != tt.broken {
				t.Errorf("broken %q, want %q: say what changed in doc.go", r.Broken, tt.broken)
			}
		})
	}
}
