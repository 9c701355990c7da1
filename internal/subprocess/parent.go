package subprocess

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"
)

// grace is what a child has for its clean-up when its standard input has ended.
var grace = 30 * time.Second

// Role is what this process was started as by Start; empty: it is nobody's child.
func Role() string { return os.Getenv(roleVariable) }

// Parent is what a child has of its parent.
type Parent[Order, Outcome any] struct {
	// Context ends when there will be no more orders: the parent ended the child, or died.
	Context context.Context
	Orders  <-chan Order // closed then
	telling sync.Mutex
	to      io.Writer
}

// Serve is the main of a child, and returns its exit status. begin sets it up; work, which begin returns, carries out
// orders until there are none, and cleans up.
func Serve[Setup, Order, Outcome any](begin func(*Parent[Order, Outcome], Setup) (work func(), err error)) int {
	signal.Ignore(os.Interrupt)
	os.Unsetenv(roleVariable) // what a child starts is not a child of this kind
	in, out := json.NewDecoder(os.Stdin), os.Stdout
	os.Stdout = os.Stderr
	var setup Setup
	if err := in.Decode(&setup); err != nil {
		_ = json.NewEncoder(out).Encode(hello{Error: "the setup: " + err.Error()})
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orders := make(chan Order)
	go func() { // also while an order is carried out, so that the parent's end is noticed
		defer close(orders)
		defer cancel()
		for {
			var o Order
			if err := in.Decode(&o); err != nil {
				if err != io.EOF {
					fmt.Fprintln(os.Stderr, "an order:", err)
				}
				time.AfterFunc(grace, func() { os.Exit(2) })
				return
			}
			select {
			case orders <- o:
			case <-ctx.Done():
				return
			}
		}
	}()
	var early bytes.Buffer
	p := &Parent[Order, Outcome]{Context: ctx, Orders: orders, to: &early}
	work, err := begin(p, setup)
	if err != nil {
		_ = json.NewEncoder(out).Encode(hello{Error: err.Error()})
		return 2
	}
	p.telling.Lock()
	_ = json.NewEncoder(out).Encode(hello{Ready: true}) // to a parent that died: then there are no orders
	_, _ = early.WriteTo(out)
	p.to = out
	p.telling.Unlock()
	work()
	return 0
}

// Tell sends an outcome: when the child is ready, if begin calls it. It may be called concurrently.
func (p *Parent[Order, Outcome]) Tell(o Outcome) error {
	p.telling.Lock()
	defer p.telling.Unlock()
	return json.NewEncoder(p.to).Encode(o)
}

// Answer carries out one order after the other, and tells the outcome of each, until there are no more.
func (p *Parent[Order, Outcome]) Answer(do func(Order) Outcome) {
	for o := range p.Orders {
		if err := p.Tell(do(o)); err != nil {
			fmt.Fprintln(os.Stderr, "an outcome:", err)
			return
		}
	}
}
