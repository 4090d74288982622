// Package disk is the machine as a source of bytes: its whole disks, what names them, the file systems that stand on
// them, and how writing to them is held for a moment.
//
//   - A [Device] is one whole disk (or an image file), read past the page cache. A buffered read of a mounted disk's node
//     is stale; a partition node is not the disk.
//   - A [farshore.DiskID] is what a disk is called for as long as it is protected: see [Identify].
//   - A [Freezer] holds the file systems of a set of disks still. The holding is done by a process of its own, the
//     watchdog, that lets go after a bound whatever has become of the agent.
//   - [Hooks] are executables of the administrator that put applications to rest before a cut.
//   - [Device.Standing] tells which file systems have their blocks where the disk has them, so that package freespace can
//     ask them what they do not use.
//   - [Stat] is the kernel's own count of what was written: the witness against which trackers are checked.
//
// The package never writes to a disk that it reads. While something is frozen it writes nothing at all, not even a log
// line: whoever writes to a frozen file system sleeps until it is thawed. It flushes single file systems with syncfs and
// never calls sync, which waits for every file system of the host.
package disk
