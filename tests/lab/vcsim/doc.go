// Package vcsim is a vCenter for tests: govmomi's simulator, over TLS on the loopback, with what it leaves out.
//
//   - It is strict: it refuses what vSphere refuses and the simulator allows. Disks of machines that are on are locked, names
//     and slots are taken once, a bus has fifteen places and a machine four buses, space ends, snapshots forbid, and a user has
//     the privileges that were not withheld. Most refusals come late, as the end of a task.
//   - Disks have their size, and a disk of a machine that is on is a device of its system: a link scsi-3UUID in the folder that
//     stands for /dev/disk/by-id, to the VMDK's file or to a loop device on it. It goes when the disk is detached.
//   - Machines that are started may really boot, in QEMU, from the bytes of their VMDKs.
//
// Faults are scripted with [Server.Fail], sessions are ended with [Server.EndSessions], and what was asked is in
// [Server.Calls]. The simulator does not authenticate its datastore browser: nothing here listens beyond the loopback.
package vcsim
