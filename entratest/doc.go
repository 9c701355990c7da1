// Package entratest runs a Microsoft Entra ID emulator inside a test: the token
// endpoint with every grant MSAL Go and the Azure SDK use, discovery, sign-in,
// Entra's errors, and faults on demand, over TLS on a local port.
//
// Most tests want one server, one app and the server's client:
//
//	entra, err := entratest.NewServer(nil)
//	if err != nil { ... }
//	defer entra.Close()
//	entra.AddApp(entratest.App{ClientID: "11111111-...", Secret: "s3cret"})
//
//	cred, _ := confidential.NewCredFromSecret("s3cret")
//	app, _ := confidential.New(entra.Authority("contoso.onmicrosoft.com"), "11111111-...", cred,
//		confidential.WithHTTPClient(entra.HTTPClient()))
//	result, _ := app.AcquireTokenByCredential(ctx, []string{"https://graph.microsoft.com/.default"})
//
//	entra.Count(entratest.ByGrant("client_credentials")) // 1
//
// With an msalredis.Cache the gate stands before the emulator:
//
//	app, _ := tokens.NewConfidential(entra.Authority("contoso.onmicrosoft.com"), "11111111-...", cred,
//		confidential.WithHTTPClient(&http.Client{Transport: tokens.Transport(entra.Transport())}))
//
// # Names
//
// [Server.Authority] is https://login.microsoftonline.com/<tenant>, the real name: the
// transports of this package ([Server.Transport], [Server.HTTPClient], [Transport]) dial the
// emulator for Microsoft's login hosts, and its certificate carries them. So instance
// discovery, aliases and cache keys are those of production, and code under test needs no
// option that production does not have. [Server.LocalAuthority] is the plain address, for
// browsers and for clients built with [ClientFromPEM]; MSAL wants WithInstanceDiscovery(false) there.
//
// A worker process needs two strings, [Server.Host] and [Server.CAPEM], and calls [Transport].
// What was asked of the server it reads from GET [Server.URL]/entratest/requests.
//
// # Apps, users, tenants
//
// An app must be registered ([Server.AddApp]); its secret, certificate, redirect URIs and
// kind (public or confidential) are checked as Entra ID checks them. A user ([Server.AddUser])
// signs in without a browser: [Server.AuthorizeCode] turns MSAL's AuthCodeURL into a code,
// [Server.ApproveDevice] answers a device code, [Server.UserToken] makes the token a web API
// receives, ready for on-behalf-of. Any tenant exists unless [Config].Tenants lists them.
//
// # Behaviour and faults
//
// [Server.SetBehavior] changes lifetimes, refresh_in, latency and rotation of refresh tokens
// while the server runs. [Server.AddFault] answers chosen requests with 429, a proxy's HTML, a
// hang, a dropped connection (before or after the grant took effect) or a mangled answer.
// [Server.OnTokenRequest] stops the world at the arrival of a request, so that tests order
// events without sleeping.
//
// # What is as in Entra ID's answers
//
// Always, since Entra ID's recorded answers have it always:
//
//   - A user's token is for all the scopes that the user consented to at the resource: OpenID Connect's first (with
//     Graph), .default last where it was asked for. Consent grows with what is asked for, per app, user, tenant and
//     resource; [App].Consented is there from the start. A token may thus serve more requests than the one that brought
//     it.
//   - An app's answer has no scope.
//   - Endpoints are named by the tenant's GUID, whatever name they were asked by. A region's configuration has no
//     device endpoint, and an authorization endpoint that says unsupported.
//   - HTTP/1.1 without HTTP/2; three cookies with each answer; an id_token whose iat lies back by five minutes.
//   - foci, and refresh tokens that all of a family can redeem, for apps with [App].Family.
//
// What varies there is a [Behavior]: VaryLifetimes (lifetimes that differ from answer to answer, by a seed),
// PlainThrottling (429 as text, with Retry-After 60), ConditionalAccess (refusals with suberror and claims, until a
// sign-in).
//
// # Recording
//
// Every token request is kept as a [Request], in order of arrival. Overlap is decided by a
// counter, not by clocks ([Server.Concurrent], [Server.MaxConcurrent]). [Server.Secrets] lists
// what must never be found in a log or an error.
//
// # What it is not
//
// It is no identity provider: it grants what is asked. Consent screens, federation, B2C and key-bound tokens' proofs
// are not emulated, and of conditional access no more than a step up; their errors can be had by a [Fault] with
// [ErrorBody] or [ConditionalAccessBody]. Where Entra ID's behaviour is undocumented the emulator is strict.
package entratest
