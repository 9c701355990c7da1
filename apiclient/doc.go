// Package apiclient makes the *http.Client of one resource API: made once, shared by all, with the token attached.
//
//	client, err := apiclient.New("https://contoso.crm4.dynamics.com", cred, nil)
//	resp, err := client.Get("https://contoso.crm4.dynamics.com/api/data/v9.2/accounts")
//
// cred is any azcore.TokenCredential: one of package azcred, or one of azidentity with the gate as its transport. It is
// asked for every request, and answers from memory; so a sign-out or a forgotten token is heard of at once.
//
// # What it does
//
//   - Connections are pooled, at most [Options.MaxConnsPerHost] for a host, and HTTP/2 where the API speaks it.
//   - The token goes to the API's own origin (scheme, host, port) over TLS and nowhere else: a request to another host, or
//     a redirect there, a subdomain included, is sent without.
//   - A 401 with a claims challenge is answered by a token for those claims, once. One without claims is tried again
//     if there is a newer token by then.
//   - 429, and for idempotent methods 502, 503, 504 and connection errors, are tried again: after Retry-After if the API
//     sends one, else with exponential backoff. A wait that would outlive the caller's context is not begun: the caller gets
//     the API's answer, with its Retry-After, at once.
//   - Only what can be repeated is: a request whose body cannot be had again (http.Request.GetBody) is sent once.
//
// It does not bound the time of a request: the caller's context does.
//
// The pipeline and its retries are azcore's. Its bearer token policy is not used: it keeps one token for all requests and
// expires it at each 401, so that of many requests refused at once some are repeated with the token that was refused.
package apiclient
