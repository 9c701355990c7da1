// Package discovery is what this process remembers of the documents that every new MSAL client asks for before its
// first token: which hosts are one cloud, and where a tenant's endpoints are. They are the same for all clients.
//
// It owns the documents themselves, for a day each and bounded, and what they tell of tenants: which names lead to one
// token endpoint. It asks nobody; package gate brings the documents.
//
// # Invariants
//
//   - A document is remembered as it came, and only if it is what its address promises.
//   - Who serves a document makes its tenant another name only of an endpoint in the same cloud.
//
// # Concurrency
//
// Everything is safe for concurrent use. The documents are in a bounded cache, which guards itself. tenants.mu guards
// the names; nothing else is done under it.
package discovery
