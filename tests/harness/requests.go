package harness

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

func (w *World) Count(t *testing.T, want int, what string, match ...func(entratest.Request) bool) {
	t.Helper()
	if got := w.Entra.Count(match...); got != want {
		t.Errorf("%s: %d token requests, want %d: %s", what, got, want, RequestsText(w.Entra.Requests()))
	}
}

func RequestsText(requests []entratest.Request) string {
	var b strings.Builder
	for _, r := range requests {
		took := r.Answered.Sub(r.Arrived).Round(time.Millisecond)
		fmt.Fprintf(&b, "\n  #%d %s %s tenant %.8s user %.8s gen %d -> %d %s [%s +%v]", r.ID, r.Grant, r.Scope, r.Tenant,
			r.User, r.RefreshTokenGeneration, r.Status, r.Error, r.Arrived.Format("05.000"), took)
	}
	return b.String()
}

// Generations are those of the refresh tokens redeemed, in order.
func (w *World) Generations() []int {
	var all []int
	for _, r := range w.Entra.Requests() {
		if r.Grant == RefreshGrant {
			all = append(all, r.RefreshTokenGeneration)
		}
	}
	return all
}

func (w *World) NoRefusals(t *testing.T) {
	t.Helper()
	for _, r := range w.Entra.Requests() {
		if r.Status != http.StatusOK {
			t.Errorf("request #%d %s: %d %s", r.ID, r.Grant, r.Status, r.Error)
		}
	}
}

func IsTokenRequest(req *http.Request) bool { return req.Method == http.MethodPost }
