// Package azcred gives Azure SDK clients the tokens that a fleet shares: an azcore.TokenCredential over MSAL's
// confidential client and an msalredis.Cache.
//
//	cred, err := azcred.New("https://login.microsoftonline.com/"+tenant, clientID, secret, tokens, nil)
//	client, err := azsecrets.NewClient(vault, cred, nil)
//
// Every client of the Azure SDK for Go takes it, and msgraph-sdk-go does.
//
// # Or azidentity
//
// A credential of azidentity needs no adapter. Give it the refresh gate as its transport, and it shares its tokens
// through that alone (the package's example runs it):
//
//	azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
//		ClientOptions: azcore.ClientOptions{Transport: tokens.HTTPClient()},
//	})
//
// Choose azidentity where its way of finding a credential is wanted. Choose this package where the application has an
// MSAL client for the same app anyway (their tokens are then the same), where callers of different tokens should not
// wait behind each other (azidentity's credentials hold a mutex while they ask), or where
// [msalredis.Cache.RemoveAccount] and [msalredis.Cache.ForgetAppTokens] are to reach this process's memory too: what
// azidentity holds there stays until it is due, up to 28 hours with continuous access evaluation, and its on-behalf-of
// tokens are not bounded.
//
// Two of azidentity's credentials do not let the gate see their requests. WorkloadIdentityCredentialOptions'
// EnableAzureProxy puts a transport of its own in the place of ClientOptions.Transport. ManagedIdentityCredential on
// Service Fabric takes no Transport but an *http.Client over an *http.Transport, and refuses the gate with an error.
// (azidentity v1.15: workload_identity.go, managed_identity_credential.go.)
//
// A managed identity needs neither: its tokens come from an endpoint on its own machine, which caches them.
//
// # Continuous access evaluation
//
// A token for a client that can answer a claims challenge (capability CP1) lives up to 28 hours, and an API may refuse
// it at any time. MSAL's cache does not tell it from an ordinary one, so, as in azidentity, there are two MSAL clients:
// one with the capability for requests with EnableCAE (those of every Azure SDK client), one without for the others.
// Both use the same Cache, which keeps their tokens apart: what is said of sharing, sign-outs and memory is true of
// both.
package azcred
