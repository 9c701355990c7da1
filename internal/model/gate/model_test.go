package gate

import (
	"testing"

	"github.com/msal-redis/msal-redis-go/internal/model"
)

// Under all the rules no order of steps breaks a promise.
func TestNoOrderOfStepsBreaksAPromise(t *testing.T) {
	r := Explore(All)
	t.Logf("%d states", r.States)
	if r.Broken != "" {
		t.Errorf("broken: %s", r.Broken)
		log(t, r)
	}
	if r.States < 1000 {
		t.Errorf("%d states: the model has lost its point", r.States)
	}
}

// Each rule is needed: without it there is an order of steps that breaks a promise.
func TestEachRuleIsNeeded(t *testing.T) {
	for _, tt := range []struct {
		without string
		rules   Rules
		broken  string
	}{
		{"the second look", Rules{Order: true, Descent: true, Session: true, AsOf: true, OwnFailure: true},
			"one token costs one token request"},
		{"the order", Rules{SecondLook: true, Descent: true, Session: true, AsOf: true, OwnFailure: true},
			"an older token never replaces a newer one"},
		{"the session", Rules{SecondLook: true, Order: true, Descent: true, AsOf: true, OwnFailure: true},
			"after a sign-out nothing comes back"},
		// A sign-out that Redis refused is tried again after a sign-in elsewhere.
		{"the time of asking", Rules{SecondLook: true, Order: true, Descent: true, Session: true, OwnFailure: true},
			"a sign-in after a sign-out is kept"},
		// The stamp of a sign-in is an estimate, which may be ahead: what was refreshed from it would be thrown away.
		{"the descent", Rules{SecondLook: true, Order: true, Session: true, AsOf: true, OwnFailure: true},
			"one token costs one token request"},
		{"the keeping of an instance's own failures to itself",
			Rules{SecondLook: true, Order: true, Descent: true, Session: true, AsOf: true},
			"an instance that cannot reach Entra ID harms nobody else"},
	} {
		t.Run(tt.without, func(t *testing.T) {
			r := Explore(tt.rules)
			if r.Broken != tt.broken {
				t.Errorf("without %s: broken %q, want %q", tt.without, r.Broken, tt.broken)
			}
			t.Logf("after %d states: %s", r.States, r.Broken)
			log(t, r)
		})
	}
}

func log(t *testing.T, r model.Result) {
	t.Helper()
	for i, step := range r.Trace {
		t.Logf("%2d  %s", i+1, step)
	}
}
