// Package collector removes what retention lets go. It is the only part of Farshore that deletes from a machine's journal,
// and runs under an identity of its own, so that nobody else needs the right to.
//
// A [Collector] goes over the machines. It reads what is left of each one's stream, its policy and its pins, lets package
// retention choose, and *publishes* a cut: from then on nobody begins to read what goes. When the *grace* of a cut is over,
// by the storage's own clock, it reads the pins again and *carries it out*: segments oldest first, then bases. A generation of
// which nothing is needed gets a tombstone first. docs/formats/retention.md specifies what is stored.
// Each pass also stores an index of the headers that came since the last one, which spares it and others reading them again
// (docs/formats/index.md).
//
// Invariants:
//   - Nothing goes that is not named by a cut which was published a grace ago, nor what the point of a pin needs.
//   - Seals never go.
//   - A horizon is moved only to a base that is there whole: manifest believed, chunk lists right, snapshots listed.
//   - Broken off anywhere, the next pass does the rest.
//   - What an immutability policy keeps is counted and tried again in the next pass.
package collector
