package msaldoc

import "strings"

// What MSAL says of an application is no more than that the client exists, or of which family it is. Only the second is
// worth keeping.

// WithAppMetadata adds the metadata that MSAL wants to find before it looks for a refresh token
// (Manager.readAppMetaData). It is made here rather than stored with every user. It is made of what is in more as well,
// which is not in the result.
func WithAppMetadata(entries, more []Entry) []Entry {
	type app struct{ client, environment string }
	have := map[app]bool{}
	for _, e := range entries {
		if e.Section == SectionAppMetadata {
			have[app{e.ClientID, e.Environment}] = true
		}
	}
	for _, list := range [][]Entry{entries, more} {
		for _, e := range list {
			a := app{e.ClientID, e.Environment}
			if e.ClientID == "" || e.Section == SectionAppMetadata || have[a] {
				continue
			}
			have[a] = true
			if x, err := appMetadata(a.client, a.environment); err == nil {
				entries = append(entries, x)
			}
		}
	}
	return entries
}

// IsPlainMetadata tells whether an application's metadata says no more than [WithAppMetadata] would.
func IsPlainMetadata(e Entry) bool {
	plain, err := appMetadata(e.ClientID, e.Environment)
	return err != nil || plain.Equal(e)
}

func appMetadata(client, environment string) (Entry, error) {
	return newEntryOf(SectionAppMetadata, []string{"AppMetaData", environment, client}, "client_id", client,
		"environment", environment)
}

// newEntryOf makes an entry of members, name and value in turn, less those that are "", under the key that MSAL makes
// of parts.
func newEntryOf(section string, key []string, members ...string) (Entry, error) {
	raw := []byte{'{'}
	for i := 0; i < len(members); i += 2 {
		if members[i+1] == "" {
			continue
		}
		if len(raw) > 1 {
			raw = append(raw, ',')
		}
		raw = appendString(append(appendString(raw, members[i]), ':'), members[i+1])
	}
	return NewEntry(section, strings.ToLower(strings.Join(key, "-")), append(raw, '}'))
}
