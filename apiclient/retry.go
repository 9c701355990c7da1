package apiclient

import (
	"net/http"
	"strconv"
	"time"
)

// shouldRetry tells azcore's retry policy whether to repeat, after Retry-After or a backoff.
func (c *call) shouldRetry(resp *http.Response, err error) bool {
	c.tries++
	var wait time.Duration
	switch {
	case !c.repeatable():
		return false
	case err != nil:
		if !c.idempotent() {
			return false
		}
	case resp.StatusCode == http.StatusTooManyRequests:
		// The API has not begun: true of every method.
	case resp.StatusCode == http.StatusBadGateway, resp.StatusCode == http.StatusServiceUnavailable,
		resp.StatusCode == http.StatusGatewayTimeout:
		if !c.idempotent() {
			return false
		}
	default:
		return false
	}
	if resp != nil {
		wait = retryAfter(resp.Header)
	}
	if wait <= 0 {
		wait = c.backoff()
	}
	deadline, ok := c.r.Context().Deadline()
	return !ok || wait < time.Until(deadline)
}

// backoff is the longest that azcore may wait after the attempt that has ended (runtime.NewRetryPolicy, calcDelay).
func (c *call) backoff() time.Duration {
	return time.Duration(1<<min(c.tries, 16)-1) * c.delay * 13 / 10
}

// idempotent is RFC 9110 section 9.2.2, and a request that the API recognises when it comes again.
func (c *call) idempotent() bool {
	switch c.r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return c.r.Header.Get("Idempotency-Key") != "" || c.r.Header.Get("Repeatability-Request-ID") != ""
}

// retryAfter is RFC 9110 section 10.2.3, zero where the API says nothing.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if s, err := strconv.Atoi(text); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return time.Until(at)
	}
	return 0
}
