// Package block names places on a disk: the [Sector], a run of them (the [Extent]), and sets of runs (the [Set]).
//
// Everything is counted in 512-byte sectors, whatever the disk's own sector size is, because writes are captured with
// that granularity and the last write wins inside a segment without reading what it does not cover. Pure: no I/O.
package block
