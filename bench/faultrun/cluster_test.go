package main

import "testing"

// A cluster has settled when its nodes agree on who owns which slots and who follows whom, whatever else they say of
// one another.
func TestViewsOfACluster(t *testing.T) {
	const (
		before = "a 127.0.0.1:1@11 myself,master - 0 0 4 connected 0-8191\n" +
			"b 127.0.0.1:2@12 master - 0 1700000000000 2 connected 8192-16383\n" +
			"c 127.0.0.1:3@13 slave a 0 1700000000000 4 connected\n"
		elsewhere = "c 127.0.0.1:3@13 myself,slave a 0 0 4 connected\n" +
			"b 127.0.0.1:2@12 master - 1700000000001 1700000000002 2 connected 8192-16383\n" +
			"a 127.0.0.1:1@11 master - 0 1700000000003 4 connected 0-8191\n"
		promoted = "a 127.0.0.1:1@11 slave c 0 0 5 connected\n" +
			"b 127.0.0.1:2@12 master - 0 0 2 connected 8192-16383\n" +
			"c 127.0.0.1:3@13 myself,master - 0 0 5 connected 0-8191\n"
		undemoted = "a 127.0.0.1:1@11 master - 0 0 4 connected\n" +
			"b 127.0.0.1:2@12 master - 0 0 2 connected 8192-16383\n" +
			"c 127.0.0.1:3@13 myself,master - 0 0 5 connected 0-8191\n"
		migrated = "a 127.0.0.1:1@11 myself,master - 0 0 4 connected 0-8190\n" +
			"b 127.0.0.1:2@12 master - 0 0 5 connected 8191-16383\n" +
			"c 127.0.0.1:3@13 slave a 0 0 4 connected\n"
	)
	for _, c := range []struct {
		name, view string
		agrees     bool
	}{
		{"another node's, with other times and another order", elsewhere, true},
		{"after the replica took over", promoted, false},
		{"of the new primary, before the old one follows", undemoted, false},
		{"after a slot has moved", migrated, false},
	} {
		if got := ownersOf(c.view) == ownersOf(before); got != c.agrees {
			t.Errorf("%s: agrees %v, want %v", c.name, got, c.agrees)
		}
	}
	if ownersOf(promoted) == ownersOf(undemoted) {
		t.Error("an old primary that does not follow yet goes unnoticed")
	}
}
