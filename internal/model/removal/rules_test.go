package removal

import (
	"flag"
	"maps"
	"slices"
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/long"
	"github.com/msal-redis/msal-redis-go/internal/model"
)

var deeper = flag.Bool("model.deep", false, "TestLongNoOrderOfStepsBreaksAnInvariant: explore the larger spaces too")

// Under all the rules no order of steps breaks an invariant. make test visits two thirds of the spaces, with a third of
// the states; of each of the others it looks for what is broken where a rule is missed.
func TestNoOrderOfStepsBreaksAnInvariant(t *testing.T) {
	some := maps.Clone(spaces)
	maps.DeleteFunc(some, func(name string, _ Bounds) bool { return slices.Contains(large, name) })
	breaksNothing(t, some, 50_000)
}

func TestLongNoOrderOfStepsBreaksAnInvariant(t *testing.T) {
	long.Test(t)
	all, atMost := maps.Clone(spaces), 1_000_000
	if *deeper {
		maps.Copy(all, deep)
		atMost = 5_000_000
	}
	breaksNothing(t, all, atMost)
}

func breaksNothing(t *testing.T, spaces map[string]Bounds, atMost int) {
	total := 0
	for _, name := range slices.Sorted(maps.Keys(spaces)) {
		t.Run(name, func(t *testing.T) {
			r := Explore(All, spaces[name], atMost)
			t.Logf("%d states", r.States)
			total += r.States
			if r.Broken != "" {
				t.Errorf("broken: %s", r.Broken)
				log(t, r)
			}
			if r.Cut {
				t.Errorf("there are more states than %d", atMost)
			}
			if r.States < 500 {
				t.Error("the space has lost its point")
			}
		})
	}
	t.Logf("%d states in %d spaces", total, len(spaces))
}

// without are the rules, where one is missed, and what breaks without it.
var without = []struct {
	rule   Rules
	space  string
	broken string
}{
	{KeepT, "cut off", NotServed},
	{CountHeld, "plain", NotServed},
	{CountWaiting, "cut off", NotServed},
	{CountArriving, "cut off", NotServed},
	{CountAnswers, "answers", NotServed},
	{AnswerLooksAtOwner, "answers", NotServed},
	{SessionFromRedis, "clocks two off", LaterSurvives},
	{SessionOfSent, "plain", KeptInTheEnd},
	{TFromRedis, "clocks", NotStored},
	{TAboveRecord, "a session ahead", NotStored},
	{TAboveCaller, "clocks", NotServed},
	{TAboveTombstone, "sessions ahead", NotStored},
	{LateAsOfAsking, "late sign-outs", LaterSurvives},
	{WindowWithinTimeout, "late sign-outs", LaterSurvives},
	{RetryAsOfAsking, "late sign-outs", LaterSurvives},
	{SessionFirst, "plain", KeptInTheEnd},
	{StoreRefuses, "plain", NotStored},
	{RefuseOnlyThose, "loss and eviction", KeptInTheEnd},
	{LookLearnsT, "cut off", NotServed},
	{LookKnowsT, "slow looks", NotServed},
	{EmptyByForce, "declined", NotServed},
	{EmptyArrivals, "declined", NotServed},
	{SecretKnown, "declined, nobody else", NotServed},
	{TBack, "total loss", GoneInTheEnd},
	{AgedNotServed, "away, declined", NotServed},
	{AgedNotRestored, "away", NotStored},
	{AgedNotPushed, "away", NotServed},
	{AgedNotStored, "away", NotStored},
	{AgePassesOn, "away", NotStored},
	{OutlivesAnswers, "answers", NotServed},
	{NeverBack, "clocks", LaterSurvives},
	{LiftSession, "a session ahead", LaterSurvives},
}

// Each rule is needed: without it there is an order of steps that breaks an invariant.
func TestEachRuleIsNeeded(t *testing.T) {
	missed := All
	for _, tt := range without {
		missed &^= tt.rule
		t.Run(tt.rule.String(), func(t *testing.T) {
			lacks(t, tt.rule, tt.space, tt.broken)
		})
	}
	if missed != 0 {
		t.Errorf("no line for %s", missed)
	}
}

// explored keeps what was found, because several tests ask for the same. Tests of this package do not run side by
// side.
var explored = map[string]model.Result{}

func explore(r Rules, space string) model.Result {
	name := space + " " + (All &^ r).String()
	if _, known := explored[name]; !known {
		explored[name] = Explore(r, spaces[space], 1_000_000)
	}
	return explored[name]
}

// lacks explores without a rule, and wants an invariant broken. It gives the trace.
func lacks(t *testing.T, rule Rules, space, broken string) model.Result {
	t.Helper()
	r := explore(All&^rule, space)
	t.Logf("after %d states: %s", r.States, r.Broken)
	log(t, r)
	if r.Broken != broken {
		t.Errorf("without %s: broken %q, want %q", rule, r.Broken, broken)
	}
	return r
}

func log(t *testing.T, r model.Result) {
	t.Helper()
	for i, step := range r.Trace {
		t.Logf("%2d  %s", i+1, step)
	}
}
