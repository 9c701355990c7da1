package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// routes are the functions, each beside a folder of its name with its function.json.
func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	// An HTTP trigger with an HTTP output and nothing else is passed through under its own path (enableProxyingHttpRequest
	// or enableForwardingHttpRequest in host.json); without that setting it is invoked as all others are.
	mux.HandleFunc("GET /api/accounts", s.accounts)
	mux.HandleFunc("POST /accounts", plain("req", s.accountsInvoked))
	mux.HandleFunc("POST /export", plain("req", s.export))
	mux.HandleFunc("POST /nightly", plain("timer", s.nightly))
	// The host asks for / until it gets an answer, and only then sends invocations.
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(status{s.sent.Load()})
	})
	return mux
}

type status struct {
	TokenRequests int64 `json:"token_requests"` // that this instance has sent
}

// accounts answers with the names of Dataverse's accounts.
func (s *service) accounts(w http.ResponseWriter, r *http.Request) {
	names, err := s.accountNames(r.Context())
	if err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(names) // the caller may have left
}

// accountsInvoked is accounts for a host that does not pass requests through.
func (s *service) accountsInvoked(ctx context.Context, _ httpRequest) (*result, error) {
	names, err := s.accountNames(ctx)
	if err != nil {
		return nil, err
	}
	return &result{Outputs: map[string]any{"res": httpResponse{
		StatusCode: http.StatusOK, Headers: map[string]string{"Content-Type": "application/json"}, Body: names,
	}}}, nil
}

// export puts every user into the queue, a message each.
func (s *service) export(ctx context.Context, _ httpRequest) (*result, error) {
	names, err := s.userNames(ctx)
	if err != nil {
		return nil, err
	}
	return &result{
		Outputs: map[string]any{
			"res":   httpResponse{StatusCode: http.StatusAccepted, Body: map[string]int{"queued": len(names)}},
			"users": names,
		},
		Logs: []string{fmt.Sprintf("export: %d users queued", len(names))},
	}, nil
}

// nightly compares the two systems. It needs a token of each.
func (s *service) nightly(ctx context.Context, timer timerInfo) (*result, error) {
	users, err := s.userNames(ctx)
	if err != nil {
		return nil, err
	}
	accounts, err := s.accountNames(ctx)
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("nightly: %d accounts, %d users", len(accounts), len(users))
	if timer.IsPastDue {
		line += ", late"
	}
	return &result{Logs: []string{line}, ReturnValue: line}, nil
}

func (s *service) accountNames(ctx context.Context) ([]string, error) {
	var page struct{ Value []struct{ Name string } }
	if err := s.get(ctx, s.dataverse, "/api/data/v9.2/accounts?$select=name&$top=10", &page); err != nil {
		return nil, err
	}
	names := []string{}
	for _, account := range page.Value {
		names = append(names, account.Name)
	}
	return names, nil
}

func (s *service) userNames(ctx context.Context) ([]string, error) {
	var page struct {
		Value []struct{ DisplayName string }
	}
	if err := s.get(ctx, s.graph, "/v1.0/users?$select=displayName&$top=10", &page); err != nil {
		return nil, err
	}
	names := []string{}
	for _, user := range page.Value {
		names = append(names, user.DisplayName)
	}
	return names, nil
}
