// Package group lives through worlds in which machines make points together, by the protocol of dataplane/group.
//
// On each machine an application writes to a disk, tells others what it has written, and notes with each write what it has been told.
// Its messages are faster than those of the protocol. The network loses, delays, repeats and reorders; machines die and come back,
// their clocks jump, freezes break, disks are written past their file systems, marker segments are lost on their way.
//
// The oracle: a point that was given away is a consistent cut: no machine in it knows of a write that another one in it lacks. Its
// markers are durable and of its own round, and whoever is not in it is named. Nothing stays frozen. When the faults are over, points
// of all machines are made again.
//
// Run gives the same result for the same seed. With a [Bug] a shell breaks one rule, which the oracle must notice.
package group
