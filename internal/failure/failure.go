// Package failure is the errors of the library's own making.
//
// It owns what they have in common: they begin with "msalredis:", and the Azure SDK does not retry them, which it
// would do for ten seconds under a mutex. There is no state here.
package failure

import "fmt"

// Error is an error of the library's own making.
type Error struct {
	text  string
	cause error // may be nil
}

// New is an error without a cause.
func New(text string) error { return &Error{text: text} }

// Of is an error with a cause.
func Of(text string, cause error) error { return &Error{text: text, cause: cause} }

// Closed is an error of Redis as callers get it where Options.FailClosed is set. doing says what was being done: else
// net/http and MSAL would report a refused connection to Redis under Entra ID's address alone.
func Closed(doing string, err error) error {
	return Of("Redis failed, and Options.FailClosed is set: "+doing, err)
}

// ErrRedisLogin is the answer to a credential that entralogin uses to log in to Redis. Whether its token opens this
// Redis or another one cannot be told; it need not be shared either way.
var ErrRedisLogin = New("a token that opens Redis is not looked for in Redis: give entralogin a " +
	"credential of its own, without this Cache's accessor and HTTP client")

// Error implements error.
func (e *Error) Error() string {
	if e.cause != nil {
		return "msalredis: " + e.text + ": " + e.cause.Error()
	}
	return "msalredis: " + e.text
}

// Unwrap gives the cause to [errors.Is] and [errors.As].
func (e *Error) Unwrap() error { return e.cause }

// NonRetriable marks the error for the Azure SDK (azcore/internal/errorinfo.NonRetriable).
func (e *Error) NonRetriable() {}

// Panicked is the error that stands for a panic of foreign code, which also runs in goroutines of the library. The
// panic's value is left out: it may hold a secret.
func Panicked(who string, v any) error { return New(fmt.Sprintf("%s panicked with a %T", who, v)) }
