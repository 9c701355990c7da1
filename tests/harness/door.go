package harness

import (
	"sync"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// Door holds token requests on their arrival at the emulator until it is opened, so that what happens meanwhile
// happens meanwhile.
type Door struct {
	arrived chan entratest.Request
	Open    func()
}

func (d *Door) Wait(t *testing.T) entratest.Request {
	t.Helper()
	select {
	case r := <-d.arrived:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no token request within 20 s")
		return entratest.Request{}
	}
}

func (w *World) Door(match ...func(entratest.Request) bool) *Door {
	opened := make(chan struct{})
	d := &Door{arrived: make(chan entratest.Request, 4096), Open: sync.OnceFunc(func() { close(opened) })}
	remove := w.Entra.OnTokenRequest(func(r entratest.Request) {
		for _, m := range match {
			if !m(r) {
				return
			}
		}
		d.arrived <- r
		<-opened
	})
	w.T.Cleanup(func() {
		remove()
		d.Open()
	})
	return d
}
