package apiclient

import "net/http"

var (
	// ClaimsOf reads a claims challenge.
	ClaimsOf = claimsOf
	// RetryAfter reads for how long an API asks to be left alone.
	RetryAfter = retryAfter
)

// DrainAtMost is how much is read of an answer that nobody gets.
const DrainAtMost = drainAtMost

// SetRandom makes chance a client's.
func SetRandom(c *http.Client, random func() float64) { c.Transport.(*transport).random = random }
