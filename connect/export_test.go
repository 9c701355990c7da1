package connect

import "testing"

// ServerName is the name by which the servers of a URL are verified, whichever host is dialled.
func ServerName(t *testing.T, url string, opts *Options) string {
	t.Helper()
	target, err := parse(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	return target.tls.ServerName
}
