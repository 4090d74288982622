// Package shadow shows the disks of a Windows machine as they were at one instant. It is the [disk.Snapshotter] of Windows.
//
// A disk is composed of the shadow copies of its volumes and, everywhere else, of the disk itself: the partition table, gaps,
// the EFI system partition and whatever else has no shadow copy. What is read from the disk itself must not change between the
// snapshot and the end of reading: its hash is taken immediately before the snapshot and again at the end, and a point is made
// only when they are equal (docs/adr/0005). All volumes of all disks are in one set, so they show one instant.
//
// A volume that is no single piece of a disk (spanned, striped, mirrored by Windows) cannot be placed, and is refused.
package shadow
