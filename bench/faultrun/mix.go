package main

import (
	"math/rand/v2"
	"slices"
)

// What may stand in a load besides calls in the home tenant, of one app, by clients without capabilities.
const (
	mixGuests  = "guests"  // users in a second tenant, and apps by the client of another tenant
	mixCAE     = "cae"     // clients with the capability CP1 beside plain ones
	mixClients = "clients" // a second app
)

var mixes = []string{mixGuests, mixCAE, mixClients}

// mix lets some calls be of another kind.
func (w *worker) mix(c call, p person, rng *rand.Rand) call {
	if c.removes() {
		return c
	}
	ofApp := c.User == ""
	if w.has(mixGuests) && rng.IntN(5) == 0 {
		c.Via, c.Tenant = c.Tenant, p.Guest
		if ofApp {
			c.Tenant = w.Tenants[rng.IntN(len(w.Tenants))]
		}
	}
	if w.has(mixCAE) && rng.IntN(5) == 0 {
		c.CAE = true
	}
	if w.has(mixClients) && ofApp && rng.IntN(5) == 0 {
		c.Client = otherClient
	}
	return c
}

func (w *worker) has(kind string) bool { return slices.Contains(w.Mix, kind) }
