// Package sink writes replica disks that are real disks: what a master target brings home.
//
// A [Sink] is what was assigned for one disk of a machine: a block device, a raw file or a qcow2 image (through qemu-nbd). The
// sinks of one machine are opened together as a [Set], which is a [vault.Replicas]: whatever brings replicas forward brings
// sinks forward. They have no snapshots.
//
// What a sink knows of itself (where it stands, what it means to write, what of it is known) lies in a state folder of the
// master target and never on the disk, which holds the machine's bytes and nothing else. It is bound to the disk: to what the
// hardware calls itself, to its size, and to a signature of its content when it was last left at rest.
//
// A disk that comes home may hold something: an old state of the machine, or of something else. A sink keeps which *granules*
// it knows. Of a granule that it does not know it reads what is there, and writes only what differs; for its readers it is
// zeros until then. [Set.Complete] gets to know the rest.
//
// Invariants:
//   - Nothing is opened for writing that is mounted, held, read-only, too small, named by a name that may be another disk's
//     tomorrow, not offered by the configuration, assigned twice, or full of something else unless a person confirmed it.
//   - An open sink has one writer: a device is held exclusively, a file is locked.
//   - SetState returns when the disk has flushed what was written before, and the state behind it is on stable storage.
//   - A granule counts as known on stable storage only when what is in it is.
package sink
