// Package applier turns the journal into replica disks, and replica disks into disks that hold one recovery point.
//
// An [Applier] follows the stream of every machine it is told to. It reads a *window* of segments, merges them (last
// write wins), and writes the result to the machine's replica disks. At clean positions, when replaying what came since
// the last one would take too long, it takes a *checkpoint*: a snapshot of every disk and a manifest that names them.
// A job MATERIALISE clones the newest checkpoint at or before a position, replays up to exactly that position, and puts
// a fixed VHD footer behind each disk; DISCARD removes the disks of a run. docs/formats/replica.md specifies what is stored.
//
// When the replica comes to a seal behind which an agent asks for hashes (package hashes), it offers them: it is the only
// one who knows what the stream holds.
//
// Invariants:
//   - Before the first page of a window is written, the window's end is stored as the disk's *intent*; after the last one,
//     as its *applied* position. Redo is idempotent only towards the same or a later end, so a disk whose applied position
//     is before its intent holds pages of the future: it is never snapshotted, and never counts as being anywhere.
//   - All disks of a checkpoint stand at one clean position.
//   - A disk is created only where the stream names it for the first time. One that is missing later was lost: the replica
//     is damaged, and nothing is made of it.
//   - A replica has one writer: every disk is fenced when it is opened.
//   - A test or a failover never writes to a replica; it works on clones.
//   - Hashes are offered of exactly the seal in front of the epoch that asks; what goes wrong with them does not keep the
//     replica from following.
//   - Jobs may be done again at any time, wholly or from wherever they were broken off: what is there is continued if it
//     is sound, and made again if it is not.
//
// Nothing here is needed to recover: replica disks can always be rebuilt from the journal.
package applier
