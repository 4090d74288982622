// Package volume says from a few bytes what a block device holds: the name under which a file system, swap space or LUKS container is known
// wherever it is plugged in ([Identify]), and the partition table of a disk ([ReadTable]).
//
// It looks where the formats say, and nowhere else: at most some tens of KiB of a device are read. It answers for a device without udev, for
// an image, and for a disk whose names in /dev will be others tomorrow. The package does no input or output of its own.
package volume
