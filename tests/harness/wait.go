package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// Eventually waits for a condition that other goroutines or processes bring about, within a generous bound.
func Eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		<-tick.C
	}
}

// WaitUntil lets the wall clock, which MSAL reads, pass a moment: the end of a token's usable life.
func WaitUntil(at time.Time) { <-time.After(time.Until(at)) }

// Within waits for what must come, within a generous bound.
func Within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not within 20 s", what)
	}
}

// InStack waits until a function is on the stacks of n goroutines.
func InStack(t *testing.T, function string, n int) {
	t.Helper()
	buf := make([]byte, 16<<20)
	Eventually(t, fmt.Sprintf("%d goroutines in %s", n, function), func() bool {
		return bytes.Count(buf[:runtime.Stack(buf, true)], []byte(function)) >= n
	})
}

// InGate waits until n callers of this process wait for an answer in the gate. That a request has left MSAL is not
// enough to know that it has joined the others.
func InGate(t *testing.T, n int) {
	t.Helper()
	InStack(t, "gate.(*flight).wait(", n)
}

// LeaseWaiters waits until n instances wait for the answer of one that holds a lease.
func (w *World) LeaseWaiters(t *testing.T, n int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%d instances waiting for another's answer", n), func() bool {
		sum, err := w.Redis.Subscribers(context.Background(), w.Prefix+":*:wake")
		return err == nil && sum >= n
	})
}

// Listening waits until n instances hear of each other.
func (w *World) Listening(t *testing.T, n int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%d instances that listen", n), func() bool {
		sum, err := w.Redis.Subscribers(context.Background(), w.Prefix+":v1:changes")
		return err == nil && sum == n
	})
}

// Returns checks that a call comes back with want, soon after its context ended.
func Returns(t *testing.T, what string, call <-chan CallResult, want error) {
	t.Helper()
	select {
	case g := <-call:
		if !errors.Is(g.Err, want) {
			t.Errorf("%s: %v, want %v", what, g.Err, want)
		}
	case <-time.After(20 * time.Second): // a third of the OpTimeout that these tests have
		t.Errorf("%s has not returned 20 s after its context ended", what)
	}
}
