// Package storetest holds adapters of the vault to one behaviour and breaks it on purpose for everybody else's tests.
//
// [Stores] and [ReplicaDisks] are the conformance suites: what package vault promises, tried on a real adapter.
// [Faulty] wraps a vault with a [Script] that says of each request what becomes of it: lost on the way, done but its
// answer lost, done twice, or never, because the process has died.
package storetest
