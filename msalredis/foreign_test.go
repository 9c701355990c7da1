package msalredis

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/stage"
	"github.com/msal-redis/msal-redis-go/internal/telemetry"
	"github.com/msal-redis/msal-redis-go/serializer"
)

// A base transport that ignores its context keeps neither a caller nor Close.
func TestCloseDoesNotWaitForATransportThatIgnoresItsContext(t *testing.T) {
	c, err := New(stage.Answering(t, nil), serializer.Plaintext(), &Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	asked, let := make(chan struct{}), make(chan struct{})
	gone := make(chan struct{})
	gate := c.Transport(stage.RoundTrip(func(*http.Request) (*http.Response, error) {
		defer close(gone)
		close(asked)
		<-let
		return nil, errors.New("late")
	}))
	got := make(chan error, 1)
	go func() {
		_, _, err := stage.Ask(context.Background(), gate, stage.AppForm("one"))
		got <- err
	}()
	<-asked
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	for what, ch := range map[string]chan error{"Close": closed, "the caller": got} {
		select {
		case err := <-ch:
			if what == "the caller" && !errors.Is(err, ErrClosed) {
				t.Errorf("the caller got %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s waits for the base transport", what)
		}
	}
	close(let)
	<-gone
}

type panicky struct{}

func (panicky) Seal([]byte, []byte) ([]byte, error)       { panic("a-secret-in-a-panic") }
func (panicky) Open([]byte, []byte) ([]byte, error)       { panic("a-secret-in-a-panic") }
func (panicky) Enabled(context.Context, slog.Level) bool  { return true }
func (panicky) Handle(context.Context, slog.Record) error { panic("a-secret-in-a-panic") }
func (p panicky) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panicky) WithGroup(string) slog.Handler           { return p }

// A serializer or a log handler that panics costs sharing, or a line, and no token.
func TestPanickingSerializerAndLogHandler(t *testing.T) {
	c, err := New(stage.Answering(t, nil), panicky{}, &Options{Logger: slog.New(panicky{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, body, err := stage.Ask(t.Context(), c.Transport(stage.Says(200, stage.GoodToken)),
		stage.AppForm("one")); err != nil || !strings.Contains(body, `"a"`) {
		t.Errorf("%q %v", body, err)
	}
	if _, err := (guarded{panicky{}}).Open(nil, nil); err == nil || strings.Contains(err.Error(), "a-secret") {
		t.Errorf("Open: %v", err)
	}
	var b bytes.Buffer
	telemetry.NewLogger(slog.New(slog.NewTextHandler(&b, nil))).Warn("x")
	if !strings.Contains(b.String(), "msalredis: x") {
		t.Errorf("a healthy handler has %q", b.String())
	}
}
