// Package layout is the form in which tokens are kept in Redis: the names of keys, the frame of values, the head of an
// answer, and the scripts that change them. The cache and the operator's command both read it by what is here, so that
// there is one parser for each thing and one place that builds names.
//
//	<prefix>:v1:{<pid>}:tokens     HASH    a partition: one field for each entry of MSAL's, and its version
//	<prefix>:v1:{<pid>}:rids       ZSET    what was answered with its tokens, by expiry
//	<prefix>:v1:{<rid>}:response   STRING  the last token response of a request identity
//	<prefix>:v1:{<rid>}:pause      STRING  the outcome after which nobody should ask yet
//	<prefix>:v1:{<id>}:tombstone   STRING  when it was removed
//	<prefix>:v1:{<id>}:lock        STRING  the lease of who asks Entra ID; its channel :wake
//	<prefix>:v1:{accounts}:list    ZSET    partitions of accounts of public clients, by expiry
//	<prefix>:v1:{changes}:log      ZSET    partitions of apps whose removal was announced
//	<prefix>:v1:changes            channel on which removals are told
//
// # Invariants
//
//   - What belongs together is in one slot of a cluster, by the part in braces.
//   - A sealed value opens only at the key and field for which it was sealed.
//
// It is pure: no I/O, no clock, no lock. Everything may be used by many goroutines at once.
package layout
