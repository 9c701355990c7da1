package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// instance is a handler process as the Functions host runs it
// (https://github.com/Azure/azure-functions-host, Workers/Http/DefaultHttpWorkerService.cs).
type instance struct {
	cmd    *exec.Cmd
	url    string
	exited chan struct{}
	stderr bytes.Buffer // to be read after exited
	client *http.Client
}

// startInstance starts this program again as a handler and waits until it answers.
func startInstance(ctx context.Context, settings []string) (*instance, error) {
	for attempt := 1; ; attempt++ {
		i, err := tryStart(ctx, settings)
		// The port was free when it was chosen, and may be another's by now.
		if err == nil || attempt == 3 || ctx.Err() != nil {
			return i, err
		}
	}
}

func tryStart(ctx context.Context, settings []string) (*instance, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	i := &instance{
		cmd:    exec.Command(exe),
		url:    "http://127.0.0.1:" + strconv.Itoa(port),
		exited: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	i.cmd.Env = append(append(os.Environ(), settings...), portVariable+"="+strconv.Itoa(port))
	i.cmd.Stderr = &i.stderr
	if err := i.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = i.cmd.Wait()
		close(i.exited)
	}()
	// The host's own patience is 30 s by default; any answer will do.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if _, _, err := i.do(ctx, http.MethodGet, "/", nil); err == nil {
			return i, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-i.exited:
			return nil, fmt.Errorf("the handler ended: %s", i.stderr.String())
		case <-ctx.Done():
			i.kill()
			return nil, fmt.Errorf("the handler does not answer: %w", ctx.Err())
		}
	}
}

// kill ends the instance without notice, as a scale-in or a crash of its machine does.
func (i *instance) kill() {
	_ = i.cmd.Process.Kill()
	<-i.exited
	i.client.CloseIdleConnections()
}

// forward passes an HTTP request through.
func (i *instance) forward(ctx context.Context, path string) ([]byte, error) {
	code, body, err := i.do(ctx, http.MethodGet, path, nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s answers %d: %s", path, code, body)
	}
	return body, err
}

// invoke is a plain invocation: trigger is the Data of the binding of that name.
func (i *instance) invoke(ctx context.Context, function, binding string, trigger any) (*result, error) {
	payload, err := json.Marshal(map[string]any{
		"Data": map[string]any{binding: trigger},
		"Metadata": map[string]any{"sys": map[string]any{
			"MethodName": function, "UtcNow": time.Now().UTC(), "RandGuid": uuid.NewString(),
		}},
	})
	if err != nil {
		return nil, err
	}
	code, body, err := i.do(ctx, http.MethodPost, "/"+function, payload)
	if err != nil {
		return nil, err
	}
	if code < 200 || code > 299 {
		return nil, fmt.Errorf("%s answers %d: %s", function, code, body)
	}
	var out result
	if err := json.Unmarshal(body, &out); err != nil {
		return nil, fmt.Errorf("%s does not answer with Outputs, Logs and ReturnValue: %w", function, err)
	}
	return &out, nil
}

// status asks how many token requests the instance has sent.
func (i *instance) status(ctx context.Context) (s status, err error) {
	_, body, err := i.do(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

func (i *instance) do(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, i.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("User-Agent", "Azure-Functions-Host/4.0")
	req.Header.Set("X-Azure-Functions-InvocationId", uuid.NewString())
	if body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp, err := i.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// The Data of the triggers, as the host writes it.
var (
	httpTrigger = map[string]any{
		"Url": "http://localhost:7071/api/export?since=2026", "Method": "POST", "Query": `{"since":"2026"}`,
		"Headers": map[string][]string{"Content-Type": {"application/json"}, "Content-Length": {"2"},
			"Host": {"localhost:7071"}},
		"Params": map[string]any{}, "Body": "{}",
		"Identities": `[{"AuthenticationType":"WebJobsAuthLevel","IsAuthenticated":true,"Actor":null,` +
			`"BootstrapContext":null,"Claims":[],` +
			`"Label":null,"Name":null,"NameClaimType":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",` +
			`"RoleClaimType":"http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}]`,
	}
	timerTrigger = map[string]any{
		"Schedule": map[string]any{"AdjustForDST": true},
		"ScheduleStatus": map[string]any{"Last": "2026-01-02T02:30:00Z", "Next": "2026-01-03T02:30:00Z",
			"LastUpdated": "2026-01-02T02:30:00Z"},
		"IsPastDue": false,
	}
)

// invokeAll invokes every function once.
func (i *instance) invokeAll(ctx context.Context) error {
	_, forwarded := i.forward(ctx, "/api/accounts")
	_, exported := i.invoke(ctx, "export", "req", httpTrigger)
	_, compared := i.invoke(ctx, "nightly", "timer", timerTrigger)
	return errors.Join(forwarded, exported, compared)
}
