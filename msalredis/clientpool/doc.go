// Package clientpool spreads many tenants or users over several MSAL clients, for services with hundreds of them.
//
// One MSAL client may serve many tenants (WithTenantID) or users at once: the shared cache hands it a document with all
// that are in use. MSAL searches that document entry by entry at every call, and reads all of it anew when a tenant or
// user comes into use that is not in it. So one client is right, and simpler, while up to some 50 are in use at once.
//
// # Hundreds of tenants or users: Shards
//
// A fixed number of clients, chosen by a hash of the tenant or user. Each document is a fraction of the whole, and
// nothing has to be retired:
//
//	clients, err := clientpool.NewShards(32, func() (confidential.Client, error) {
//		return tokens.NewConfidential("https://login.microsoftonline.com/"+tenant, clientID, cred)
//	})
//	app, err := clients.Get(otherTenant)
//	result, err := app.AcquireTokenByCredential(ctx, scopes, confidential.WithTenantID(otherTenant))
//
// # Clients that differ: Pool
//
// A client for each tenant or user, where each is made in another way, such as with a credential of its own, or an
// authority that WithTenantID cannot name. Those used least are retired:
//
//	clients, err := clientpool.New(1000, func(tenant string) (confidential.Client, error) {
//		return tokens.NewConfidential("https://login.microsoftonline.com/"+tenant, clientID, credentials[tenant])
//	})
//	app, err := clients.Get(tenant)
//
// # Thousands of resources in one tenant: Pool, with the gate alone
//
// MSAL keeps all of an app's tokens in a tenant in one partition, whatever the client, and the shared cache hands each
// client all of it. A broker that has a token for each of thousands of resources, such as Dataverse's environments,
// gives each resource a client that has no cache but MSAL's own memory, and the gate's HTTP client. The gate keeps each
// token under a key of its own, for all instances:
//
//	clients, err := clientpool.New(10_000, func(resource string) (confidential.Client, error) {
//		return confidential.New("https://login.microsoftonline.com/"+tenant, clientID, cred,
//			confidential.WithHTTPClient(tokens.HTTPClient())) // without WithCache
//	})
//	app, err := clients.Get(resource)
//	result, err := app.AcquireTokenByCredential(ctx, []string{resource + "/.default"})
//
// MSAL's own memory hears of no ForgetAppTokens: what a client has it gives until that is due. Who forgets tokens makes
// a new pool in each instance.
//
// A client that is made anew finds its tokens in the shared cache, and the discovery documents, which MSAL asks for
// with every new client, in the memory of the gate: it costs no request.
//
// docs/performance.md has the figures of one client, shards and a pool.
package clientpool
