// Package connect makes the Redis client that the token cache wants, from one URL.
//
//	rdb, err := connect.Open(os.Getenv("REDIS_URL"), nil)
//	if err != nil {
//		return err // says what to change
//	}
//	defer rdb.Close()
//	tokens, err := msalredis.New(rdb, sealer, nil)
//
// [Open] asks Redis nothing, so that a service starts while Redis is away, as the cache itself does. [Dial] asks, and
// so finds a wrong address, password or certificate at once: use it where that should stop the start.
//
// # URLs
//
//	redis://user:password@host:6379/0            one server, or any node of a cluster
//	rediss://user:password@host:6380             the same over TLS
//	redis://host1:6379,host2:6379,host3:6379     some nodes of a cluster; the client finds the others
//	redis://host1:26379,host2:26379?master_name=primary&username=user&password=password
//	                                             Sentinels; user:password@ before the hosts would be the Sentinels' own
//	unix:///run/redis/redis.sock                 a socket of this machine
//
// The language is go-redis's (redis.ParseURL, redis.ParseClusterURL, redis.ParseFailoverURL), its query parameters and
// addr=host:port included; the comma is our one addition. Characters such as @ : / ? # and % are percent-encoded in a
// password. A host is never left out, also where it is localhost. A host that is neither a name nor an address is
// refused, and the error does not show it: with a : in place of the @, the password stands where the host should be.
//
// A connection string of StackExchange.Redis, which Azure's portal shows, is no URL, also with rediss:// before it: the
// error gives the one to write. A URL whose user or password begins as such a string does (6380,ssl=...) is taken
// for one: write the comma as %2C.
//
// One address is enough for a cluster, by Dial and by Open, also where Redis is away at the start: what is there is
// asked (CLUSTER SLOTS) when it first answers. A cluster has database 0 only: one that is asked for another says so
// with every command. Tests: TestOneAddressOfACluster, TestOneAddressOfASingleServer.
//
// # What is set
//
// What the URL sets stays; the rest is
//
//	ContextTimeoutEnabled  true    otherwise go-redis lets no deadline bound a read, and a hung server holds the
//	                               connections of a cluster client for ReadTimeout
//	DialTimeout            2 s     and two attempts, where go-redis has 5 s and five
//	ConnMaxIdleTime        3 min   Azure's load balancers forget connections that were idle for 4, and tell nobody
//	PoolSize               20, or 10 for each processor if that is more: the cache takes half of it at most
//	DisableIdentity        true    go-redis would send CLIENT SETINFO, which the least permissions do not hold
//
// # TLS
//
// rediss:// verifies the server's certificate, by the system's CAs or those of [Options.TLSConfig]. A URL or
// configuration that asks for less is refused, because whoever sits between could read every password and answer with
// tokens of his own, unless [Options.InsecureSkipVerify] says so aloud, in the caller's own code.
//
// One address is the name by which its server and the nodes of its cluster are verified. With several, and with
// Sentinels, each is verified by the host that is dialled: the primary by the host that the Sentinels give, unless
// TLSConfig.ServerName is set.
//
// # Replies
//
// A reply of more than 64 MiB, of arrays nested 32 deep, or not in Redis's protocol is an error and ends the
// connection, before go-redis allocates for it: whoever answers in Redis's place cannot take a process's memory.
//
// # Why a package of its own
//
// msalredis takes a client that an application has already. Most of what is here is URLs, TLS and advice, which such an
// application does not want, and which the lock, the command-line tool and the examples use without the cache.
package connect
