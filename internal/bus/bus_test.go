package bus_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/msal-redis/msal-redis-go/internal/bus"
	"github.com/msal-redis/msal-redis-go/internal/redistest"
)

// Any number of channels and subscribers have one connection, which is made at the first subscription. Each hears its
// own channel, and a channel that nobody wants any more is left.
func TestOneConnection(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			server := redistest.Start(t)
			options := server.Options()
			options.Protocol = protocol
			client := redis.NewClient(options)
			defer client.Close()
			b := open(t, client)
			if n := len(connections(server)); n != 0 {
				t.Errorf("%d connections before anybody has subscribed", n)
			}
			kept, told := map[string]*bus.Subscription{}, map[string]*bus.Subscription{}
			for i := range 50 {
				name := fmt.Sprint("channel ", i)
				kept[name], told[name] = subscribed(t, b, name, 10), subscribed(t, b, name, 0)
				<-told[name].C()
			}
			for name := range kept {
				publish(t, server.Client(), name, "first of "+name)
				publish(t, server.Client(), name, "second of "+name)
			}
			for name, s := range kept {
				if heard := hears(t, s, 2); !slices.Equal(heard, []string{"first of " + name, "second of " + name}) {
					t.Errorf("%s: heard %q", name, heard)
				}
				<-told[name].C()
			}
			if all := connections(server); len(all) != 1 || !strings.Contains(all[0], " sub=50 ") {
				t.Errorf("connections: %q", all)
			}
			for name, s := range kept {
				s.Close()
				s.Close()
				if name != "channel 7" {
					told[name].Close()
				}
			}
			eventually(t, "one channel is left", func() bool {
				return fmt.Sprint(server.Do("PUBSUB", "CHANNELS")) == "[channel 7]"
			})
			b.Close()
			eventually(t, "the connection is gone", func() bool { return len(connections(server)) == 0 })
			b.Close()
			if _, err := b.Subscribe("late", 0); !errors.Is(err, bus.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// Who joins a channel that is confirmed is ready at once, and told once to look.
func TestSecondSubscriberIsReadyAtOnce(t *testing.T) {
	b := open(t, redistest.Start(t).Client())
	subscribed(t, b, "c", 0)
	s := subscribe(t, b, "c", 0)
	select {
	case <-s.Ready():
	default:
		t.Error("it is not ready")
	}
	if _, missed := s.Take(); !missed {
		t.Error("it is not told")
	}
}

// One that takes nothing holds up nobody, has what fits its bound, and is told of the rest.
func TestSlowReceiverHoldsUpNobody(t *testing.T) {
	const messages = 5000
	server := redistest.Start(t)
	b := open(t, server.Client())
	slow, same, other := subscribed(t, b, "c", 4), subscribed(t, b, "c", messages), subscribed(t, b, "d", 1)
	pipe := server.Client().Pipeline()
	for i := range messages {
		pipe.Publish(t.Context(), "c", fmt.Sprint(i))
	}
	pipe.Publish(t.Context(), "d", "after all of them")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	hears(t, other, 1)
	if heard := hears(t, same, messages); heard[0] != "0" || heard[messages-1] != fmt.Sprint(messages-1) {
		t.Errorf("heard %d messages, from %s to %s", len(heard), heard[0], heard[messages-1])
	}
	if heard, missed := slow.Take(); !slices.Equal(heard, []string{"0", "1", "2", "3"}) || !missed {
		t.Errorf("the slow one: %q, missed %v", heard, missed)
	}
	publish(t, server.Client(), "c", "one more")
	hears(t, slow, 1)
}

// Subscribers of a few channels come and go, all at once. Each that is ready hears what is published then, or is told
// to look.
func TestSubscribersComeAndGo(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, server.Client())
	client := server.Client()
	var all sync.WaitGroup
	for who := range 8 {
		all.Go(func() {
			for turn := range 150 {
				name := fmt.Sprint("channel ", (who+turn)%3)
				s, err := b.Subscribe(name, 1000)
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case <-s.Ready():
				case <-time.After(bound):
					t.Errorf("%s: not confirmed", name)
					return
				}
				s.Take() // it looks now
				mine := fmt.Sprintf("of %d in turn %d", who, turn)
				if err := client.Publish(t.Context(), name, mine).Err(); err != nil {
					t.Error(err)
					return
				}
				for until := time.After(bound); ; {
					heard, missed := s.Take()
					if missed || slices.Contains(heard, mine) {
						break
					}
					select {
					case <-s.C():
						continue
					case <-until:
						t.Errorf("%s: neither heard nor told", name)
					}
					return
				}
				s.Close()
			}
		})
	}
	all.Wait()
	eventually(t, "all channels are left", func() bool { return fmt.Sprint(server.Do("PUBSUB", "CHANNELS")) == "[]" })
	if n := len(connections(server)); n > 1 {
		t.Errorf("%d connections", n)
	}
}

// Close ends everything within about two handshakes of a Redis that hangs, at whatever moment, and what comes
// afterwards is refused.
func TestCloseWhileRedisHangs(t *testing.T) {
	for name, stage := range map[string]func(t *testing.T, server *redistest.Server, b *bus.Bus){
		"nobody has subscribed": func(_ *testing.T, server *redistest.Server, _ *bus.Bus) { server.Freeze() },
		"it connects": func(t *testing.T, server *redistest.Server, b *bus.Bus) {
			server.Freeze()
			subscribe(t, b, "c", 1)
			time.Sleep(handshake / 5)
		},
		"it has just begun to connect": func(t *testing.T, server *redistest.Server, b *bus.Bus) {
			server.Freeze()
			subscribe(t, b, "c", 1)
		},
		"it listens": func(t *testing.T, server *redistest.Server, b *bus.Bus) {
			subscribed(t, b, "c", 1)
			server.Freeze()
		},
		"it subscribes to more": func(t *testing.T, server *redistest.Server, b *bus.Bus) {
			subscribed(t, b, "c", 1)
			server.Freeze()
			subscribe(t, b, "d", 1).Close()
			subscribe(t, b, "e", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			b := bus.New(server.Client(), handshake)
			stage(t, server, b)
			began := time.Now()
			var both sync.WaitGroup
			both.Go(b.Close)
			both.Go(b.Close)
			both.Wait()
			if took := time.Since(began); took > 3*handshake {
				t.Errorf("it took %v", took)
			}
			if left := running(); len(left) > 0 {
				t.Errorf("left running:\n%s", strings.Join(left, "\n\n"))
			}
			if _, err := b.Subscribe("late", 0); !errors.Is(err, bus.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
			server.Thaw()
			eventually(t, "no connection is left", func() bool { return len(connections(server)) == 0 })
		})
	}
}

// Subscribing, leaving and closing at the same moment end in nothing left.
func TestCloseWhileSubscribersComeAndGo(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	for range 30 {
		b := bus.New(client, handshake)
		var all sync.WaitGroup
		for who := range 4 {
			all.Go(func() {
				for {
					s, err := b.Subscribe(fmt.Sprint("channel ", who%2), 1)
					if err != nil {
						return
					}
					s.Close()
				}
			})
		}
		time.Sleep(2 * time.Millisecond)
		b.Close()
		all.Wait()
		if left := running(); len(left) > 0 {
			t.Fatalf("left running:\n%s", strings.Join(left, "\n\n"))
		}
	}
	eventually(t, "no connection is left", func() bool { return len(connections(server)) == 0 })
}

// A user who may not subscribe hears nothing, and nothing else comes of it.
func TestWithoutLeaveToSubscribe(t *testing.T) {
	server, _, limited := redistest.StartACL(t, "~* resetchannels &mine +@all")
	b := open(t, limited)
	others := subscribe(t, b, "others", 1)
	select {
	case <-others.Ready():
		t.Error("it is confirmed")
	case <-time.After(200 * time.Millisecond):
	}
	mine := subscribed(t, b, "mine", 1)
	publish(t, server.Client(), "mine", "m")
	hears(t, mine, 1)
	if n := len(connections(server)); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A Ring has no one server to hear: who waits there has to look.
func TestRingHearsNothing(t *testing.T) {
	server := redistest.Start(t)
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": server.Addr()}})
	defer ring.Close()
	b := open(t, ring)
	s := subscribe(t, b, "c", 1)
	ready(t, s)
	s.Close()
	if n := len(connections(server)); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// No verb looks inside, at a client with its password or at what is being written.
func TestFormat(t *testing.T) {
	b := open(t, redistest.Start(t).Client())
	s := subscribe(t, b, "c", 1)
	want := strings.Repeat("bus.Bus ", 3) + "bus.Subscription bus.Subscription"
	if got := fmt.Sprintf("%v %+v %#v %v %+v", b, b, b, s, s); got != want {
		t.Error(got)
	}
}
