package failure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

type failing struct {
	err  error
	sent int
}

func (f *failing) RoundTrip(*http.Request) (*http.Response, error) { f.sent++; return nil, f.err }

// Each error says whose it is and leads to its cause, and the Azure SDK does not retry it, as it does others. net/http
// and MSAL wrap what the gate fails with.
func TestErrorsOfOurOwn(t *testing.T) {
	cause := fmt.Errorf("reading: %w", &os.PathError{Op: "read", Path: "there", Err: os.ErrDeadlineExceeded})
	for name, test := range map[string]struct {
		err    error
		text   string
		caused bool
		sent   int
	}{
		"without a cause": {New("what"), "msalredis: what", false, 1},
		"with a cause":    {Of("what", cause), "msalredis: what: " + cause.Error(), true, 1},
		"FailClosed": {
			Closed("doing", cause), "msalredis: Redis failed, and Options.FailClosed is set: doing: " + cause.Error(), true, 1,
		},
		"wrapped": {
			fmt.Errorf("MSAL: %w", Of("what", cause)), "MSAL: msalredis: what: " + cause.Error(), true, 1,
		},
		"a Redis's own token":  {ErrRedisLogin, ErrRedisLogin.Error(), false, 1},
		"a panic":              {Panicked("it", 1), "msalredis: it panicked with a int", false, 1},
		"not one of our own":   {cause, cause.Error(), true, 3},
		"a cause that is ours": {Of("what", New("why")), "msalredis: what: msalredis: why", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if test.err.Error() != test.text {
				t.Errorf("%q, want %q", test.err, test.text)
			}
			var path *os.PathError
			if errors.Is(test.err, os.ErrDeadlineExceeded) != test.caused || errors.As(test.err, &path) != test.caused {
				t.Errorf("its cause is found: %v, want %v", !test.caused, test.caused)
			}
			base := &failing{err: test.err}
			pipeline := runtime.NewPipeline("", "", runtime.PipelineOptions{}, &policy.ClientOptions{
				Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: time.Nanosecond},
				Transport: &http.Client{Transport: base},
			})
			req, err := runtime.NewRequest(context.Background(), http.MethodGet, "https://vault.example.com")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pipeline.Do(req); !errors.Is(err, test.err) {
				t.Errorf("it comes out as %v", err)
			}
			if base.sent != test.sent {
				t.Errorf("the Azure SDK sends %d requests, want %d", base.sent, test.sent)
			}
		})
	}
}

// What foreign code panicked with may hold a secret, and neither the error nor a cause of it shows that.
func TestPanicsValueIsLeftOut(t *testing.T) {
	const secret = "the-secret"
	for _, v := range []any{
		secret, errors.New(secret), []byte(secret), struct{ Token string }{secret}, map[string]string{secret: secret},
	} {
		err := Panicked("the serializer", v)
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) ||
			!strings.Contains(text, fmt.Sprintf("%T", v)) || errors.Unwrap(err) != nil {
			t.Errorf("a panic with a %T: %s", v, text)
		}
	}
}
