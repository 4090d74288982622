// Package segment is the format of the journal: the `.fsj` file, version 1, specified in docs/formats/segment.md.
//
// A segment is a piece of a machine's stream: a plain [Header], frames of compressed and encrypted extents, and a
// trailer with the SHA-256 of everything before it. The [Builder] collects change records, last write wins, and seals
// them; [Parse] and [Open] read them back and name every damage: what, and at which byte. A *seal* is a segment without
// frames and without a key; it ends an epoch ([SealMarker]).
//
// Invariants: the extents of a segment are disjoint and in ascending order; equal records, header, key and salt give
// equal bytes; nothing is returned from a frame that did not authenticate. The package is pure: it does no I/O, asks no
// clock and draws no random bytes. It does not know names, chains or claims: see dataplane/chain and dataplane/journal.
package segment
