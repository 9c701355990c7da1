package apiclient

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// again tells whether to repeat, and after which wait.
func (t *transport) again(c *call, tries int, resp *http.Response, err error) (time.Duration, bool) {
	switch {
	case tries > t.maxRetries, c.over, c.r.Context().Err() != nil, !c.repeatable():
		return 0, false
	case err != nil:
		if !c.idempotent() {
			return 0, false
		}
	case resp.StatusCode == http.StatusTooManyRequests:
		// The API has not begun: true of every method.
	case resp.StatusCode == http.StatusBadGateway, resp.StatusCode == http.StatusServiceUnavailable,
		resp.StatusCode == http.StatusGatewayTimeout:
		if !c.idempotent() {
			return 0, false
		}
	default:
		return 0, false
	}
	var least time.Duration
	if err == nil {
		least = retryAfter(resp.Header)
	}
	if least <= 0 {
		least = t.backoff(tries)
	}
	left := time.Duration(math.MaxInt64)
	if deadline, ok := c.r.Context().Deadline(); ok {
		left = time.Until(deadline)
	}
	if least > t.maxDelay || least >= left {
		return 0, false
	}
	// Callers who were refused together would come back together.
	spread := min(least/4, left-least)
	return least + time.Duration(t.random()*float64(spread)), true
}

// backoff is the least wait after an attempt where the API names none.
func (t *transport) backoff(tries int) time.Duration {
	if wait := float64(t.delay) * (math.Exp2(float64(tries)) - 1); wait < float64(t.maxDelay) {
		return time.Duration(wait)
	}
	return t.maxDelay
}

// idempotent is RFC 9110 section 9.2.2, and a request that the API recognises when it comes again.
func (c *call) idempotent() bool {
	switch c.r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return c.r.Header.Get("Idempotency-Key") != "" || c.r.Header.Get("Repeatability-Request-ID") != ""
}

// retryAfter is for how long an API asks to be left alone, in the headers that azcore reads, in its order: RFC 9110
// section 10.2.3 is the last. It is zero where the API says nothing, and the longest there is where it says more than
// that.
func retryAfter(h http.Header) time.Duration {
	for _, header := range []struct {
		name string
		unit time.Duration
	}{{"Retry-After-Ms", time.Millisecond}, {"X-Ms-Retry-After-Ms", time.Millisecond}, {"Retry-After", time.Second}} {
		text := strings.TrimSpace(h.Get(header.name))
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err == nil || errors.Is(err, strconv.ErrRange):
			if n > math.MaxInt64/int64(header.unit) {
				return math.MaxInt64
			}
			if n > 0 {
				return time.Duration(n) * header.unit
			}
		case header.unit == time.Second:
			if at, err := http.ParseTime(text); err == nil {
				return max(0, time.Until(at))
			}
		}
	}
	return 0
}
