// Package apiclient makes the *http.Client of one resource API: made once, shared by all, with the token attached.
//
//	client, err := apiclient.New("https://contoso.crm4.dynamics.com", cred, nil)
//	resp, err := client.Get("https://contoso.crm4.dynamics.com/api/data/v9.2/accounts")
//
// cred is any azcore.TokenCredential: one of package azcred, or one of azidentity with the gate as its transport. It is
// asked for every request, and answers from memory; so one of azcred hears of a sign-out or a forgotten token at once.
//
// # What it does
//
//   - Connections are pooled, at most [Options.MaxConnsPerHost] for a host, and HTTP/2 where the API speaks it.
//   - The token goes to the API's own origin (scheme, host, port) over TLS and nowhere else: a request to another host,
//     or a redirect there, a subdomain included, is sent without.
//   - A 401 with a claims challenge is answered by a token for those claims, once for a request. One without claims is
//     tried again if there is another token by then.
//   - 429, and for idempotent methods 502, 503, 504 and connection errors, are tried again: after Retry-After (or
//     retry-after-ms, or x-ms-retry-after-ms) if the API sends one, else with exponential backoff, and up to a quarter
//     later by chance, so that callers who were refused together do not come back together. A wait that would outlive
//     the caller's context is not begun: the caller gets the API's answer, with its Retry-After, at once.
//   - Only what can be repeated is: a request whose body cannot be had again (http.Request.GetBody) is sent once. A
//     challenge to it is answered all the same, so that the caller's next request has the token.
//   - The rest is net/http's: bodies and answers are streamed, errors too; trailers may be set until the body has
//     ended; what no server has begun (a refused HTTP/2 stream, a server that shuts down, a pooled connection that was
//     closed) is sent again without a wait.
//
// It does not bound the time of a request: the caller's context does.
//
// # Where it differs from azcore
//
// The Azure SDK's clients do this by azcore's policies. Beside its BearerTokenPolicy:
//
//   - The credential is asked for each request. azcore keeps one token for all, which no sign-out reaches, and drops it
//     at each 401, so that of many requests refused at once some are repeated with the token that was refused.
//   - The token goes to one origin. azcore sends it wherever the request goes over https, and fails without https.
//   - A challenge is read as RFC 9110 has it: a scheme in any letters, values with and without quotes, base64 of either
//     alphabet, with and without padding, error="insufficient_claims" or not. azcore reads one form. What is not
//     understood is the caller's 401; with azcore it is an error where the claims are not base64.
//   - After a 401 it looks for another token first, which many then share. azcore asks with the claims each time.
//   - Challenges without claims that name a scope or a tenant (Key Vault's) are not followed, as with azcore's default:
//     both are [Options].
//
// Beside its retry policy:
//
//   - What may have been done is not done again: a POST or PATCH without a key is repeated after 429 alone. azcore
//     repeats all methods, and 408 and 500 too.
//   - A number of seconds beyond what a time.Duration holds is a long wait, not none. A wait may be 5 minutes by
//     default, not one; no time is set to a single attempt; and waits after Retry-After are spread too.
//   - Bodies need not be seekable, and no answer is read into memory. Of one that nobody gets a few KB are read, for
//     its connection's sake.
//
// The request's headers are the caller's: no User-Agent, no request id, no logs, no spans. For those wrap
// [Options.Transport].
package apiclient
