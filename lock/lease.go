package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Lease is the right to be the only one, for as long as [Lease.Context] lives. Its methods are safe for concurrent use.
//
// A lease is renewed until it is released or lost. A holder that hangs therefore keeps it: give the work a deadline.
//
// A lease makes it unlikely, not impossible, that two work at once. Redis may evict the key or lose it in a failover; a
// process may be stopped between looking at its Context and acting on it. Where the second writer must not win, write
// with the fence: let what is written to refuse a number smaller than the last it saw.
type Lease struct {
	locker *Locker
	names  names
	token  string
	fence  int64

	ctx    context.Context
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	state    state
	until    time.Time     // the end of the trust window
	expiry   *time.Timer   // fires at until
	renewal  *time.Timer   // fires when the next renewal is due
	renewing chan struct{} // closed when the renewal in flight has ended; nil: none in flight
	failure  error         // of the last renewal, if it failed
}

type state int

const (
	stateHeld state = iota
	stateLost
	stateGone // lost, and Redis said so
	stateReleased
)

func newLease(ctx context.Context, l *Locker, n names, token string, got obtained) *Lease {
	s := &Lease{locker: l, names: n, token: token, fence: got.fence, until: got.start.Add(l.trust())}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return s
}

// Context ends when the lease does: with cause [ErrLost] (use errors.Is with context.Cause) when it is lost, with
// context.Canceled when it is released. It carries the values of the context that Acquire was given, but neither its
// cancellation nor its deadline: those bounded the waiting.
//
// A lease is lost when a renewal finds the key gone or another's; when it could not be renewed before nine tenths of
// TTL had passed since the last successful attempt was *started* (by the monotonic clock, so a process that was stopped
// finds it lost when it goes on); or when the Locker was closed. An eviction is noticed by the next renewal, a third of
// TTL later at most.
func (s *Lease) Context() context.Context { return s.ctx }

// Fence is a number larger than that of every earlier holder of the key: also when the keys were evicted or the data
// lost meanwhile, provided that Redis's clock was not set back; and also when it was, by up to an hour, provided that
// the key of the fence is still there. With [Options.Unfenced] it is 0.
func (s *Lease) Fence() int64 { return s.fence }

// arm starts the clocks; false if the time in which the lease could be trusted passed before it was in our hands.
func (s *Lease) arm() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := time.Until(s.until)
	if left <= 0 {
		return false
	}
	if s.state == stateHeld { // else closed meanwhile
		s.expiry = time.AfterFunc(left, s.expire)
		s.renewal = time.AfterFunc(max(0, left-s.locker.trust()+s.locker.opts.TTL/3), s.renew)
	}
	return true
}

func (s *Lease) expire() {
	s.mu.Lock()
	// A renewal may have succeeded while we waited for the mutex.
	if left := time.Until(s.until); left > 0 {
		s.mu.Unlock()
		return
	}
	failure := s.failure
	s.mu.Unlock()
	if failure != nil {
		s.lose(fmt.Sprintf("not renewed in time: %v", failure))
	} else {
		s.lose("not renewed in time")
	}
}

// renew is run by a timer, on the timer's goroutine; there is at most one at a time, since only renew sets the timer
// again.
func (s *Lease) renew() {
	l := s.locker
	if !l.begin() {
		return
	}
	defer l.wg.Done()
	s.mu.Lock()
	if s.state != stateHeld {
		s.mu.Unlock()
		return
	}
	ended := make(chan struct{})
	s.renewing = ended
	s.mu.Unlock()
	defer close(ended)

	err := l.enter(s.ctx, nil) // which ends when the lease has run out
	start := time.Now()
	ours := true
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), l.opts.OpTimeout)
		ours, err = renewScript.Run(ctx, l.client, []string{s.names.lease}, s.token, l.opts.TTL.Milliseconds()).Bool()
		cancel()
		l.exit()
	}

	s.mu.Lock()
	s.renewing = nil
	if s.state != stateHeld {
		s.mu.Unlock()
		return
	}
	if err == nil && !ours {
		s.mu.Unlock()
		s.loseAs(stateGone, "the key is gone or another's")
		return
	}
	s.failure = err
	if err == nil {
		// From its start: the new life in Redis began after that.
		s.until = start.Add(l.trust())
		s.expiry.Reset(time.Until(s.until))
		s.renewal.Reset(max(0, time.Until(start.Add(l.opts.TTL/3))))
	} else {
		s.renewal.Reset(l.opts.TTL / 20) // a failure that comes at once (READONLY, refused) leaves time for a few more
	}
	s.mu.Unlock()
}

func (s *Lease) lose(why string) { s.loseAs(stateLost, why) }

func (s *Lease) loseAs(as state, why string) {
	s.mu.Lock()
	if s.state != stateHeld {
		s.mu.Unlock()
		return
	}
	s.state = as
	s.stop()
	s.mu.Unlock()
	s.locker.forget(s)
	s.cancel(fmt.Errorf("%w: %s", ErrLost, why))
}

// stop ends the timers; under mu.
func (s *Lease) stop() {
	if s.expiry != nil {
		s.expiry.Stop()
		s.renewal.Stop()
	}
}

// Release gives the lease back and wakes those who wait for it. The Context ends first, so that who works under it
// stops before the next one begins.
//
// It is done also when ctx has ended: a caller that hangs up must not leave the lease to its TTL. It waits for its
// place (see [Options.InFlight]) for as long as the lease lives, and then takes OpTimeout at most. It returns nil if
// the lease was ours to the end, [ErrLost] if not (then another's lease is not touched), or Redis's error: then
// releasing is tried again in the background, and at worst the lease runs out. Only the first call does something;
// every further one returns nil.
func (s *Lease) Release(ctx context.Context) error {
	l := s.locker
	s.mu.Lock()
	was := s.state
	s.state = stateReleased
	// The timer is late in a process that was stopped and has just gone on.
	if was == stateHeld && time.Now().After(s.until) {
		was = stateLost
		s.cancel(fmt.Errorf("%w: not renewed in time", ErrLost))
	}
	s.stop()
	renewing, until := s.renewing, s.until
	s.mu.Unlock()

	switch was {
	case stateReleased:
		return nil
	case stateGone:
		return ErrLost
	case stateLost:
		// Lost to us, but perhaps not to Redis, where it would keep the others waiting. Nobody waits for that here.
		l.forget(s)
		l.abandon(s.names, s.token)
		return ErrLost
	}
	s.cancel(nil)
	l.forget(s)
	if soonest := time.Now().Add(2 * l.opts.OpTimeout); until.Before(soonest) {
		until = soonest
	}
	bounded, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	ours, err := l.release(bounded, s.names, s.token)
	if renewing != nil { // it began before us and is as bounded: normally it is over by now
		timer := time.NewTimer(l.opts.OpTimeout)
		defer timer.Stop()
		select {
		case <-renewing:
		case <-timer.C:
		}
	}
	if err != nil {
		l.reap(s.names, s.token)
		return broken("release", err)
	}
	if !ours {
		return ErrLost
	}
	return nil
}

// release runs the script once; false: the lease was not ours.
func (l *Locker) release(ctx context.Context, n names, token string) (bool, error) {
	f := func(ctx context.Context) (bool, error) {
		return releaseScript.Run(ctx, l.client, []string{n.lease}, token, n.channel).Bool()
	}
	ours, err := run(l, ctx, l.opts.OpTimeout, f, nil)
	if errors.Is(err, ErrClosed) { // no goroutine for it any more, nor a place: on ours, without
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.opts.OpTimeout)
		defer cancel()
		return f(bounded)
	}
	return ours, err
}

// Format implements [fmt.Formatter]: no verb looks inside, at the token.
func (s *Lease) Format(f fmt.State, _ rune) { fmt.Fprint(f, "lock.Lease") }
