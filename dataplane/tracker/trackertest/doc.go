// Package trackertest is the conformance test of trackers: a replica is kept of a disk under load by the rule "take, then
// read", and must equal the disk byte for byte in the end.
//
// The [Copier] can be told to break the rule in ways that have lost data before; a test that the breach is noticed shows
// that the suite can see.
package trackertest
