package model

import (
	"slices"
	"testing"
)

// counter adds one or two until a bound.
func counter(bad int) System[int] {
	return System[int]{
		Steps: func(s int, emit Emit[int]) {
			if s < 10 {
				emit(s+1, "", func() string { return "one" })
				emit(s+2, "", func() string { return "two" })
			}
		},
		Check: func(s int) string {
			if s == bad {
				return "bad"
			}
			return ""
		},
	}
}

func TestExploreGivesAShortestTrace(t *testing.T) {
	r := Explore(counter(5), 100)
	if r.Broken != "bad" || len(r.Trace) != 3 || !slices.Contains(r.Trace, "one") {
		t.Errorf("%+v", r)
	}
}

func TestExploreVisitsEveryStateOnce(t *testing.T) {
	if r := Explore(counter(-1), 100); r.States != 12 || r.Cut || r.Broken != "" {
		t.Errorf("%+v", r)
	}
	if r := Explore(counter(-1), 5); !r.Cut {
		t.Errorf("%+v", r)
	}
}
