package main

import (
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The same seed gives the same faults, another seed others, each topology all of its kinds, and none takes hold of what
// another has.
func TestScheduleIsMadeFromTheSeed(t *testing.T) {
	for _, topology := range []string{topologyStandalone, topologySentinel, topologyCluster} {
		plan := schedule(7, topology, 3*time.Minute, nil, true)
		if !reflect.DeepEqual(plan, schedule(7, topology, 3*time.Minute, nil, true)) {
			t.Errorf("%s: two schedules from one seed", topology)
		}
		if reflect.DeepEqual(plan, schedule(8, topology, 3*time.Minute, nil, true)) {
			t.Errorf("%s: one schedule from two seeds", topology)
		}
		seen, until := map[string]bool{}, map[string]time.Duration{}
		for _, p := range plan {
			k := kindNamed(p.Kind)
			seen[p.Kind] = true
			if !k.in(topology) {
				t.Errorf("%s has no %q", topology, p.Kind)
			}
			if p.At < until[k.on] {
				t.Errorf("%s: %q begins at %v, while another has %s until %v", topology, p.Kind, p.At, k.on, until[k.on])
			}
			until[k.on] = p.At + p.Hold
		}
		for _, k := range kinds {
			if k.in(topology) && !seen[k.name] {
				t.Errorf("%s: no %q in three minutes", topology, k.name)
			}
		}
	}
}

// A seed's schedule is the same whether neighbours have their faults or not, but for those.
func TestNeighboursLeaveTheRestOfTheSchedule(t *testing.T) {
	with := schedule(90211, topologySentinel, time.Minute, nil, true)
	seen := map[string]bool{}
	rest := slices.DeleteFunc(slices.Clone(with), func(p planned) bool {
		neighbour := kindNamed(p.Kind).neighbour
		seen[p.Kind] = neighbour
		return neighbour
	})
	if want := schedule(90211, topologySentinel, time.Minute, nil, false); !reflect.DeepEqual(rest, want) {
		t.Errorf("the rest is\n%v\nwant\n%v", rest, want)
	}
	for _, k := range kinds {
		if k.neighbour && !seen[k.name] {
			t.Errorf("no %q in a minute", k.name)
		}
		if only := schedule(7, topologySentinel, time.Minute, []string{k.name}, false); k.in(topologySentinel) &&
			len(only) == 0 {
			t.Errorf("--only %q has none", k.name)
		}
	}
}

// Each kind says what it costs, and those that are named are there.
func TestEveryKindHasItsBounds(t *testing.T) {
	names := map[string]bool{}
	for _, k := range append(kinds, busy) {
		if names[k.name] {
			t.Errorf("two kinds are called %q", k.name)
		}
		names[k.name] = true
		if k.extra == nil || k.slow == nil || k.inject == nil && k != busy {
			t.Errorf("%q lacks a bound, or is never injected", k.name)
		}
		if kindNamed(k.name) != k {
			t.Errorf("%q is not found by its name", k.name)
		}
	}
	for _, name := range []string{kindKill, kindFreeze, kindLostAnswer, kindBusy} {
		if !names[name] {
			t.Errorf("there is no %q", name)
		}
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for flags, want := range map[string]string{
		"--duration=1ms":                     "--duration",
		"--workers=1":                        "--workers",
		"--users=0":                          "--users",
		"--pause=0s":                         "--pause",
		"--topology=ring":                    "--topology",
		"--only=rain":                        "--only",
		"--topology=cluster --only=failover": "--only",
		"--plot=/no/such/folder/x.svg":       "--plot",
		"--log=/no/such/folder/x.json":       "--log",
		"rain":                               "unexpected argument",
		"--mix=rain":                         "--mix",
		"--op-timeout=0s":                    "--op-timeout",
		"--rain":                             "unknown flag",
	} {
		if _, err := parseConfig(strings.Fields(flags), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flags, err)
		}
	}
	var help strings.Builder
	if code := run(t.Context(), []string{"--help"}, &help, io.Discard); code != exitKept {
		t.Errorf("--help exits with %d", code)
	}
	for _, k := range kinds {
		if !strings.Contains(help.String(), k.name) {
			t.Errorf("--help does not name the fault %q", k.name)
		}
	}
}
