// Package blockwriter is the oracle of Farshore's tests: a writer whose every block can be told from every
// other, and a verifier that says whether a disk holds exactly what a power cut could have left.
//
// A [Writer] carries out a [Schedule]: an endless list of operations that follows from a seed alone. Each 4 KiB
// block it writes begins with a [Stamp] (instance, sequence number, place, previous sequence number of that
// place, barrier, CRC-32C) and ends with bytes that follow from seed and sequence number. So a verifier needs
// nothing but the disk: it finds the highest sequence number, walks the same schedule up to it, and knows byte
// for byte what must be there ([VerifyDir], [VerifyDevices]). With the writer's log ([ReadLog]), kept on another
// disk, it also knows what had been acknowledged at which time, and so the recovery point objective achieved.
//
// Two modes, one schedule type:
//
//   - raw: one write at a time to one or more devices or image files, O_DIRECT. One order over all of them, so a
//     point of several disks or several machines is consistent only if it is an exact prefix over all.
//   - dir: inside a mounted file system: a ring file written O_DIRECT|O_DSYNC, a ring file written through the page
//     cache with fdatasync at each barrier, and small files created, renamed and removed with fsync.
//
// Invariants: a write is logged only after the system call that makes it durable has returned; operations are
// issued one after another; a writer never writes over what another instance has left in a directory.
// The byte tables are in docs/formats/blockwriter.md.
//
// It must not import anything that Farshore is made of, apart from faults: an oracle that shares code with the
// thing it judges would share its mistakes.
package blockwriter
