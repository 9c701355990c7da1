package accessor

import (
	"runtime"
	"strings"

	"github.com/msal-redis/msal-redis-go/internal/failure"
)

// failIfListing is the error for who asks for all accounts and would get some of them: to an application the others
// would be signed out. MSAL asks in the same way before it stores a public client's sign-in, which needs none of them
// and would be lost by an error, and does not say which it is: only the stack tells.
func failIfListing(cause error) error {
	if !calledByAccounts() {
		return nil
	}
	return failure.Of("the accounts could not all be read", cause)
}

// calledByAccounts tells whether MSAL's Client.Accounts is among the callers.
func calledByAccounts() bool {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "/apps/internal/base.Client.AllAccounts") {
			return true
		}
		if !more {
			return false
		}
	}
}
