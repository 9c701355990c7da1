// Package leases_test records histories of leases, and checks them against the contract of package lock.
package leases_test
