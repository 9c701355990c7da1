package apiclient

// ClaimsOf reads a claims challenge.
var ClaimsOf = claimsOf
