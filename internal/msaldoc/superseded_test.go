package msaldoc

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// supersededOfAllPairs compares every two entries: what the index must say.
func supersededOfAllPairs(entries []Entry) map[int]bool {
	classes, scopes := make([]class, len(entries)), make([]Scopes, len(entries))
	for i, e := range entries {
		classes[i], scopes[i] = classOf(e), ScopesOf(e.Target)
	}
	gone := map[int]bool{}
	for i, old := range entries {
		for j, better := range entries {
			if i == j || old.Section != SectionAccessToken || better.Section != SectionAccessToken || classes[i] != classes[j] ||
				!scopes[j].ContainsAll(scopes[i]) {
				continue
			}
			lives := cmp.Compare(better.ExpiresOn, old.ExpiresOn)
			if lives > 0 || lives == 0 && (!scopes[i].ContainsAll(scopes[j]) || better.Key < old.Key) {
				gone[i] = true
			}
		}
	}
	return gone
}

// token is an access token of one class, with a key of its own.
func token(key, target string, expires int64) Entry {
	return Entry{Section: SectionAccessToken, Key: key, HomeAccountID: "u.t", ClientID: "c", Realm: "t", Environment: "e",
		TokenType: "Bearer", Target: target, ExpiresOn: expires}
}

func with(e Entry, change func(*Entry)) Entry {
	change(&e)
	return e
}

// What supersedes what, by hand; the positions of what must be gone.
func TestSuperseded(t *testing.T) {
	old, better := token("old", "a", 1), token("better", "a b", 2)
	for _, test := range []struct {
		name    string
		entries []Entry
		gone    []int
	}{
		{"none", nil, nil},
		{"one", []Entry{old}, nil},
		{"more scopes for longer", []Entry{old, better}, []int{0}},
		{"in the other order", []Entry{better, old}, []int{1}},
		{"more scopes for less time", []Entry{token("k", "a", 2), token("l", "a b", 1)}, nil},
		{"fewer scopes for longer", []Entry{token("k", "a b", 1), token("l", "a", 2)}, nil},
		{"the same scopes for longer", []Entry{token("k", "a", 1), token("l", "A", 2)}, []int{0}},
		{"the same scopes in another order and case", []Entry{token("k", "b A", 1), token("l", "a  B b", 2)}, []int{0}},
		{"more scopes for as long", []Entry{token("k", "a", 1), token("l", "a b", 1)}, []int{0}},
		{"the same for as long: by key", []Entry{token("l", "a", 1), token("k", "a", 1)}, []int{0}},
		{"one entry twice", []Entry{token("k", "a", 1), token("k", "a", 1)}, nil},
		{"one entry twice, beside a better one", []Entry{token("k", "a", 1), token("k", "a", 1), token("l", "a", 2)},
			[]int{0, 1}},
		{"no scopes", []Entry{token("k", "", 1), token("l", "", 2)}, []int{0}},
		{"no scopes, beside some for as long", []Entry{token("k", "", 1), token("l", "a", 1)}, []int{0}},
		{"no scopes, the same twice", []Entry{token("k", "", 1), token("k", "", 1)}, nil},
		{"no scopes for longer", []Entry{token("k", "", 2), token("l", "a", 1)}, nil},
		{"overlapping scopes", []Entry{token("k", "a b", 1), token("l", "b c", 2)}, nil},
		{"by two together", []Entry{token("k", "a b", 1), token("l", "a", 2), token("m", "b", 2)}, nil},
		{"a chain", []Entry{token("k", "a", 1), token("l", "a b", 2), token("m", "a b c", 3)}, []int{0, 1}},
		{"another account", []Entry{old, with(better, func(e *Entry) { e.HomeAccountID = "v.t" })}, nil},
		{"another client", []Entry{old, with(better, func(e *Entry) { e.ClientID = "d" })}, nil},
		{"another realm", []Entry{old, with(better, func(e *Entry) { e.Realm = "T" })}, nil},
		{"another host", []Entry{old, with(better, func(e *Entry) { e.Environment = "f" })}, nil},
		{"the host in capitals", []Entry{old, with(better, func(e *Entry) { e.Environment = "E" })}, []int{0}},
		{"another type", []Entry{old, with(better, func(e *Entry) { e.TokenType = "pop" })}, nil},
		{"the type in capitals", []Entry{old, with(better, func(e *Entry) { e.TokenType = "BEARER" })}, []int{0}},
		{"no type", []Entry{old, with(better, func(e *Entry) { e.TokenType = "" })}, nil},
		{"another key's", []Entry{old, with(better, func(e *Entry) { e.KeyID = "k" })}, nil},
		{"another extra key", []Entry{old, with(better, func(e *Entry) { e.ExtCacheKey = "x" })}, nil},
		{"no access tokens", []Entry{with(old, func(e *Entry) { e.Section = SectionIDToken }), better}, nil},
	} {
		want := map[int]bool{}
		for _, i := range test.gone {
			want[i] = true
		}
		if got := Superseded(test.entries); !maps.Equal(got, want) || !maps.Equal(supersededOfAllPairs(test.entries), want) {
			t.Errorf("%s: %v, of all pairs %v, want %v", test.name, got, supersededOfAllPairs(test.entries), want)
		}
		if left := WithoutSuperseded(test.entries); len(left) != len(test.entries)-len(want) {
			t.Errorf("%s: %d are left", test.name, len(left))
		}
		if n := len(test.entries); n > 0 && HasSuperseded(test.entries[n-1:], test.entries) != (len(want) > 0) {
			t.Errorf("%s: HasSuperseded is %v", test.name, len(want) == 0)
		}
	}
	// What was superseded before, in a class where nothing has changed, does not count.
	if other := with(old, func(e *Entry) { e.Realm = "r" }); HasSuperseded([]Entry{other}, []Entry{old, better, other}) {
		t.Error("a class is looked at in which nothing has changed")
	}
	if account := (Entry{Section: SectionAccount}); HasSuperseded([]Entry{account}, []Entry{old, better, account}) {
		t.Error("an account supersedes")
	}
}

// some makes entries that have much in common.
func some(r *rand.Rand, n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		var target []string
		for range r.IntN(5) {
			target = append(target, string(rune('a'+r.IntN(7)))+strings.Repeat("X", r.IntN(2)))
		}
		e := token(fmt.Sprint(r.IntN(n)), strings.Join(target, " "), int64(r.IntN(4)))
		for _, field := range []*string{&e.HomeAccountID, &e.ClientID, &e.Realm, &e.Environment, &e.TokenType,
			&e.KeyID, &e.ExtCacheKey} {
			if r.IntN(12) == 0 {
				*field = []string{"", "Bearer", "bearer", "x"}[r.IntN(4)]
			}
		}
		if r.IntN(10) == 0 {
			e.Section = SectionRefreshToken
		}
		entries[i] = e
	}
	return entries
}

// The index says what comparing all pairs says.
func TestSupersededIsAsOfAllPairs(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 1))
		entries := some(r, 2+r.IntN(24))
		if got, want := Superseded(entries), supersededOfAllPairs(entries); !maps.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v of %#v", seed, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)), entries)
		}
		changed := entries[:1+r.IntN(len(entries))]
		classes := map[class]bool{}
		for _, e := range changed {
			classes[classOf(e)] = e.Section == SectionAccessToken || classes[classOf(e)]
		}
		theirs := slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return !classes[classOf(e)] })
		if got, want := HasSuperseded(changed, entries), len(supersededOfAllPairs(theirs)) > 0; got != want {
			t.Fatalf("seed %d: HasSuperseded is %v", seed, got)
		}
	}
}

func FuzzSuperseded(f *testing.F) {
	f.Add("a|a b||b c|c B a", "1214")
	f.Add("a|A|a a| |", "11100")
	f.Fuzz(func(t *testing.T, targets, expiries string) {
		var entries []Entry
		for i, target := range strings.SplitN(targets, "|", 40) {
			e := token(fmt.Sprint(i%5), target, 0)
			if i < len(expiries) {
				e.ExpiresOn = int64(expiries[i] % 4)
			}
			entries = append(entries, e)
		}
		if got, want := Superseded(entries), supersededOfAllPairs(entries); !maps.Equal(got, want) {
			t.Fatalf("%v, want %v of %q", got, want, targets)
		}
	})
}

// scopesOfOneApp are an app's tokens for n resources: all of one class, none superseded.
func scopesOfOneApp(n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		target := fmt.Sprintf("https://org%d.crm4.dynamics.com/.default", i)
		entries[i] = token("-login.microsoftonline.com-accesstoken-c-t-"+target, target, int64(i%3))
		entries[i].HomeAccountID = ""
	}
	return entries
}

// scopesOfOneUser are a user's tokens of one resource that share all their scopes but one.
func scopesOfOneUser(n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		target := fmt.Sprintf("openid profile email User.Read Mail.Read.%d", i)
		entries[i] = token("u.t-login.microsoftonline.com-accesstoken-c-t-"+target, target, int64(i%3))
	}
	return entries
}

// All pairs of so many would take minutes.
func TestSupersededOfManyIsQuick(t *testing.T) {
	for name, of := range map[string]func(int) []Entry{"an app": scopesOfOneApp, "a user": scopesOfOneUser} {
		quickest := time.Hour
		for n := 0; n < 5 && quickest > 5*time.Second; n++ {
			start := time.Now()
			if gone := Superseded(of(30_000)); len(gone) != 0 {
				t.Fatal(len(gone))
			}
			quickest = min(quickest, time.Since(start))
		}
		if quickest > 5*time.Second {
			t.Errorf("30,000 scopes of %s take %v", name, quickest)
		}
	}
}

// BenchmarkSuperseded: time grows with the number of entries, not with its square.
func BenchmarkSuperseded(b *testing.B) {
	for name, of := range map[string]func(int) []Entry{"app": scopesOfOneApp, "user": scopesOfOneUser} {
		for _, n := range []int{100, 1000, 3000} {
			entries := of(n)
			b.Run(fmt.Sprintf("%s/entries=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Superseded(entries)
				}
			})
			b.Run(fmt.Sprintf("%s/entries=%d/allPairs", name, n), func(b *testing.B) {
				for b.Loop() {
					supersededOfAllPairs(entries)
				}
			})
		}
	}
}
