package redistest

import (
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// installed is the version of the installed Redis, or of Valkey: 7.0 is {7, 0}.
var installed = sync.OnceValues(func() ([]int, error) {
	binary, err := findBinary("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	said, err := exec.Command(binary, "--version").Output()
	if err != nil {
		return nil, err
	}
	m := regexp.MustCompile(`v=(\d+)\.(\d+)`).FindSubmatch(said)
	if m == nil {
		return nil, nil // as new as can be
	}
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	return []int{major, minor}, nil
})

// before tells whether the installed Redis is older than a version.
func before(version ...int) bool {
	v, err := installed()
	return err == nil && v != nil && slices.Compare(v, version) < 0
}

// needs skips a test that cannot be arranged with the installed Redis. CI has a newer one.
func needs(tb testing.TB, what string, version ...int) {
	tb.Helper()
	if before(version...) {
		tb.Skipf("redistest: %s needs Redis %d.%d", what, version[0], version[1])
	}
}

// Rules are ACL rules as the installed Redis knows them: before 6.2 none is about channels, and every user may use all.
func Rules(rules string) []string {
	return slices.DeleteFunc(strings.Fields(rules), func(r string) bool {
		return before(6, 2) && (r == "resetchannels" || r == "allchannels" || r[0] == '&')
	})
}
