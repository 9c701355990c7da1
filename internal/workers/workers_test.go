package workers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Closing waits for what runs and for who has joined, within the time that it is given; nothing starts afterwards.
func TestGroup(t *testing.T) {
	for _, test := range []struct {
		run, leave time.Duration // how long a goroutine runs, and how long one that joined stays
		ends       bool
		after      time.Duration
	}{
		{time.Second, 2 * time.Second, true, 2 * time.Second},
		{4 * time.Second, 0, true, 4 * time.Second},
		{time.Hour, 0, false, 5 * time.Second},
		{0, time.Hour, false, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var g Group
			if !g.Run(func() { time.Sleep(test.run) }) || !g.Join() {
				t.Fatal("an open group takes nobody")
			}
			time.AfterFunc(test.leave, g.Leave)
			began := time.Now()
			if ended := g.CloseWithin(5 * time.Second); ended != test.ends || time.Since(began) != test.after {
				t.Errorf("%+v: ended %v after %v", test, ended, time.Since(began))
			}
			if g.Run(func() { t.Error("it runs") }) || g.Join() {
				t.Errorf("%+v: a closed group takes in more", test)
			}
			time.Sleep(2 * time.Hour)
		})
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if !Sleep(ctx, time.Second/2) || Sleep(ctx, time.Second) {
			t.Error("a sleep ends by itself, or with its context")
		}
	})
}
