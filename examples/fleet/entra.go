package main

import (
	"errors"
	"strconv"

	"github.com/msal-redis/msal-redis-go/entratest"
)

// entra is who issues the tokens: the emulator, or the real Entra ID.
type entra struct {
	emulator         *entratest.Server // nil: the real one
	clientID, secret string
}

func openEntra(cfg *config) (*entra, error) {
	if cfg.real() {
		return &entra{nil, cfg.ClientID, cfg.Secret}, nil
	}
	server, err := entratest.NewServer(nil)
	if err != nil {
		return nil, err
	}
	e := &entra{server, "f1ee7000-0000-4000-8000-000000000001", "fleet-" + randomName()}
	server.AddApp(entratest.App{ClientID: e.clientID, Secret: e.secret})
	return e, nil
}

func (e *entra) emulated() bool { return e.emulator != nil }

// reset makes it behave as at the beginning, and forgets what it counted.
func (e *entra) reset(cfg *config) {
	if e.emulated() {
		e.emulator.ResetRequests()
		e.emulator.SetBehavior(func(b *entratest.Behavior) { *b = entratest.Behavior{Latency: cfg.Latency} })
	}
}

// count is the number of token requests so far; -1 where only the workers know, when they have finished.
func (e *entra) count() int {
	if !e.emulated() {
		return -1
	}
	return e.emulator.Count()
}

// requests are the token requests since reset. The emulator's word counts: it has also seen those of workers that died.
// Of the real Entra ID there is only what the workers report.
func (e *entra) requests(reported []request) []request {
	if !e.emulated() {
		return reported
	}
	var out []request
	for _, r := range e.emulator.Requests() {
		worker, _ := workerOf(r)
		out = append(out, request{worker, token{r.Tenant, resourceScope(r.RawScope)}, r.Arrived})
	}
	return out
}

func workerOf(r entratest.Request) (int, error) {
	worker, err := strconv.Atoi(r.Form.Get(markField))
	if err != nil {
		return -1, errors.New("a token request does not say which worker sent it")
	}
	return worker, nil
}

func (e *entra) close() {
	if e.emulated() {
		_ = e.emulator.Close()
	}
}
