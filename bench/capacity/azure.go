package main

// size is one of Azure Managed Redis, by its tier's memory.
//
// Primary shards: learn.microsoft.com/azure/redis/architecture#sharding-configuration, which says that they change over
// time. Requests: GETs of 1 KB a second that Microsoft has measured, with no guarantee,
// learn.microsoft.com/azure/redis/best-practices-performance. How many connections a size takes stands on
// azure.microsoft.com/pricing/details/managed-redis, and is not repeated here.
type size struct {
	name   string
	shards int
	gets   int
}

var sizes = []size{
	{"Balanced 0.5 and 1 GB", 1, 120_000},
	{"Balanced 3 and 6 GB", 2, 230_000},
	{"Balanced 12 GB", 2, 480_000},
	{"Balanced 24 GB", 6, 810_000},
	{"Balanced 60 GB", 12, 1_500_000},
	{"Balanced 120 GB", 24, 2_000_000},
}

// busyAtMost is the share of its processors to which a server should be loaded: Microsoft recommends 80 % as the limit.
const busyAtMost = 0.8

// fits is the smallest size whose shards do so much work, in shares of one thread; "": none of the list. An app's keys
// lie on one shard each and many of them on all, but the change log lies on one.
func fits(load float64) string {
	for _, s := range sizes {
		if load <= busyAtMost*float64(s.shards) {
			return s.name
		}
	}
	return ""
}
