package msalredis

// gateError is an error of the gate's own making. azcore would retry it for ten seconds under a mutex.
type gateError struct {
	text  string
	cause error // may be nil
}

func (e *gateError) Error() string {
	if e.cause != nil {
		return "msalredis: " + e.text + ": " + e.cause.Error()
	}
	return "msalredis: " + e.text
}

func (e *gateError) Unwrap() error { return e.cause }

// failClosed is an error of Redis as callers get it where Options.FailClosed is set; doing says what met it.
func failClosed(doing string, err error) error {
	return &gateError{text: "Redis failed, and Options.FailClosed is set: " + doing, cause: err}
}

// NonRetriable marks the error for the Azure SDK (azcore/internal/errorinfo.NonRetriable).
func (e *gateError) NonRetriable() {}

// errRedisLogin is what entralogin gets whose credential asks here. The token might open another Redis than this one, which
// nothing tells; it needs no sharing there either.
var errRedisLogin error = &gateError{text: "a token that opens Redis is not looked for in Redis: give entralogin a credential of its own, " +
	"without this Cache's accessor and HTTP client"}
