package msaldoc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// ErrDocument: this is no MSAL cache document. The error does not quote it.
var ErrDocument = errors.New("msalredis: not an MSAL cache document")

// Parse takes MSAL's serialised cache apart. The entries come sorted, the known
// sections first and in MSAL's order, and no two have one place: of duplicates the last
// counts, as it does for MSAL. Empty input and {} have no entries.
//
// An entry is an object in a section. Of a section that MSAL does not know and keeps, what is made otherwise is left
// out: it says no user, and nobody could tell whose it is.
//
// What MSAL itself would choke on costs only the entry it is in, or only the
// member (see [Entry]); the rest of the document is returned. [ErrDocument] is
// for data that is not a JSON object, or is nested deeper than 512 levels.
//
// The entries' Raw alias data, which must not be modified afterwards. Time and
// memory are proportional to the size of data; there is no limit of its own.
func Parse(data []byte) ([]Entry, error) {
	data = bytes.Trim(data, " \t\r\n")
	if len(data) == 0 {
		return nil, nil
	}
	if !valid(data, maxDepth) {
		// MSAL writes names as Go does, not as JSON wants it.
		fixed := fromGoQuoted(data)
		if fixed == nil || !valid(fixed, maxDepth) {
			return nil, fmt.Errorf("%w: not valid JSON", ErrDocument)
		}
		data = fixed
	}
	if data[0] != '{' {
		return nil, fmt.Errorf("%w: not a JSON object", ErrDocument)
	}
	// One copy as a string: the entries' fields point into it and cost nothing.
	text := string(data)
	slots := split(text)
	sort(slots)
	entries := make([]Entry, 0, len(slots))
	for i, s := range slots {
		if i+1 < len(slots) && slots[i+1].section == s.section && slots[i+1].key == s.key {
			continue // the last counts
		}
		e, err := newEntry(s.section, s.key, text[s.start:s.end], data[s.start:s.end:s.end])
		if err != nil {
			continue
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// slot is where an entry stands in the document. occurrence counts the document's sections.
type slot struct {
	section, key string
	rank         int
	occurrence   int
	start, end   int
}

// split finds the entries, duplicates of a section removed and duplicates of an entry not.
func split(text string) []slot {
	var slots []slot
	occurrence := 0
	last := map[string]int{}
	gjson.Parse(text).ForEach(func(k, v gjson.Result) bool {
		section := unquote(k.Raw)
		occurrence++
		last[section] = occurrence
		s := slot{section: section, rank: sectionRank(section), occurrence: occurrence,
			start: v.Index, end: v.Index + len(v.Raw)}
		if !v.IsObject() {
			return true // null is an empty section to MSAL, all else an error; of sections that it does not know see [Parse]
		}
		v.ForEach(func(k, v gjson.Result) bool {
			s.key, s.start, s.end = unquote(k.Raw), v.Index, v.Index+len(v.Raw)
			slots = append(slots, s)
			return true
		})
		return true
	})
	if len(last) < occurrence {
		slots = slices.DeleteFunc(slots, func(s slot) bool { return last[s.section] != s.occurrence })
	}
	return slots
}

func sort(slots []slot) {
	slices.SortFunc(slots, func(a, b slot) int {
		if c := cmp.Compare(a.rank, b.rank); c != 0 {
			return c
		}
		if a.rank > 4 {
			if c := strings.Compare(a.section, b.section); c != 0 {
				return c
			}
		}
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return cmp.Compare(a.start, b.start)
	})
}

// Assemble makes one document of entries, in any order and from any number of
// documents. MSAL's Unmarshal accepts it whatever the entries are: one that
// was not made by this package's functions is checked here, and left out if
// MSAL would refuse it. Of several entries of one place the last counts to MSAL.
// Without entries the document is {}, which empties the cache it is given to.
func Assemble(entries []Entry) []byte {
	size := 2
	var unknown []int
	for i := range entries {
		e := &entries[i]
		size += len(e.Key) + len(e.Raw) + 4
		if sectionRank(e.Section) > 4 {
			unknown = append(unknown, i)
			size += len(e.Section) + 5
		}
	}
	b := builder{out: make([]byte, 1, size+80)}
	b.out[0] = '{'
	for _, section := range [...]string{SectionAccessToken, SectionRefreshToken, SectionIDToken, SectionAccount,
		SectionAppMetadata} {
		for i := range entries {
			if entries[i].Section == section {
				b.add(&entries[i])
			}
		}
		b.closeSection()
	}
	if unknown != nil {
		b.addUnknown(entries, unknown)
	}
	return append(b.out, '}')
}

// addUnknown writes the sections that MSAL does not know.
func (b *builder) addUnknown(entries []Entry, at []int) {
	slices.SortStableFunc(at, func(i, j int) int { return strings.Compare(entries[i].Section, entries[j].Section) })
	for n, i := range at {
		if n > 0 && entries[i].Section != entries[at[n-1]].Section {
			b.closeSection()
		}
		b.add(&entries[i])
	}
	b.closeSection()
}

// builder writes the document.
type builder struct {
	out  []byte
	open bool // a section is open
}

func (b *builder) add(e *Entry) {
	if !e.isChecked() {
		good, err := NewEntry(e.Section, e.Key, e.Raw)
		if err != nil {
			return
		}
		e = &good
	}
	if !b.open {
		if len(b.out) > 1 {
			b.out = append(b.out, ',')
		}
		b.out = append(appendString(b.out, e.Section), ':', '{')
		b.open = true
	} else {
		b.out = append(b.out, ',')
	}
	b.out = append(appendString(b.out, e.Key), ':')
	b.out = append(b.out, e.Raw...)
}

func (b *builder) closeSection() {
	if b.open {
		b.out = append(b.out, '}')
		b.open = false
	}
}
