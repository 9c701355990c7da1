package apiclient

// Pooled is the transport of a client whose Options name none, for a test to give it a server's certificate.
var Pooled = pooled

// ClaimsOf reads a claims challenge.
var ClaimsOf = claimsOf
