package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Busy, lost and broken are three different things: [ErrHeld], [ErrLost], and any other error, which is Redis's
// (wrapped) or the caller's context's.
var (
	// ErrHeld says that somebody else has the lease. It comes from TryAcquire only; Acquire waits instead.
	ErrHeld = errors.New("lock: held by another")

	// ErrLost says that a lease ended before it was released: its key is gone or another's, or it could not be renewed in
	// time. It is the cause with which Lease.Context ends, and what Release returns.
	ErrLost = errors.New("lock: lease lost")

	// ErrClosed says that the Locker was closed.
	ErrClosed = errors.New("lock: closed")
)

// broken wraps what Redis or the way to it answered. A time-out of an operation of ours must not look like the end of
// the caller's context (errors.Is(err, context.DeadlineExceeded)), whose wrapped errors these would be: it becomes
// os.ErrDeadlineExceeded, what a socket's time-out is.
func broken(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("lock: %s: %w (%v)", what, os.ErrDeadlineExceeded, err)
	}
	return fmt.Errorf("lock: %s: %w", what, err)
}

// ended is the error of a context that has ended, with its cause where that says more.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return fmt.Errorf("lock: %w", cause)
	}
	return fmt.Errorf("lock: %w: %w", err, cause)
}
