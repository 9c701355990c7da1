package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
)

// invocation is what the host POSTs to /<function> unless it passes an HTTP request through
// (https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers#request-payload).
type invocation struct {
	Data     map[string]json.RawMessage // by the names of the trigger and input bindings
	Metadata map[string]json.RawMessage
}

// result is the answer to an invocation. The host takes every status but 2xx for a failed one, and drops its body.
type result struct {
	Outputs     map[string]any `json:"Outputs,omitempty"` // by the names of the output bindings
	Logs        []string       `json:"Logs,omitempty"`    // for Application Insights
	ReturnValue any            `json:"ReturnValue,omitempty"`
}

// httpRequest is the Data of an HTTP trigger, as the host writes it (GetRequestAsJObject in
// https://github.com/Azure/azure-functions-host).
type httpRequest struct {
	URL     string `json:"Url"`
	Method  string
	Query   query
	Headers map[string][]string
	Params  map[string]any // of the route; a constraint such as {id:int} makes one a number
	Body    string         // absent if there is none; in base64 where it is application/octet-stream or multipart
}

// query is a request's query. The host writes it as a string that holds JSON, and hosts before 2020 wrote the JSON
// itself.
type query map[string]string

func (q *query) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte(`"`)) {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		b = []byte(cmp.Or(text, "null"))
	}
	return json.Unmarshal(b, (*map[string]string)(q))
}

// httpResponse is the output of an http binding.
type httpResponse struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers,omitempty"`
	Body       any               `json:"body,omitempty"`
}

// timerInfo is the Data of a timer trigger.
type timerInfo struct{ IsPastDue bool }

// maxInvocation bounds what is read of an invocation; the host's own limit on HTTP requests is 210 MB.
const maxInvocation = 8 << 20

// plain makes a function of one trigger an HTTP handler for the host's invocations. T is the type of the trigger's
// data, and binding its name in function.json.
func plain[T any](binding string, function func(context.Context, T) (*result, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in invocation
		var trigger T
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxInvocation)).Decode(&in); err != nil {
			http.Error(w, "not an invocation: "+err.Error(), http.StatusBadRequest)
			return
		}
		if err := json.Unmarshal(in.Data[binding], &trigger); err != nil {
			http.Error(w, fmt.Sprintf("Data.%s: %v", binding, err), http.StatusBadRequest)
			return
		}
		out, err := function(r.Context(), trigger)
		if err != nil {
			fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // the host may have left
	}
}

// fail ends an invocation that another attempt may bring to a good end. What stderr gets, the host logs.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	slog.ErrorContext(r.Context(), "invocation failed", "path", r.URL.Path,
		"invocation", r.Header.Get("X-Azure-Functions-InvocationId"), "error", err)
	http.Error(w, "failed; see the log", http.StatusBadGateway)
}
