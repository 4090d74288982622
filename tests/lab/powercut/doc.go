// Package powercut is a disk whose power can be cut in the past. A [Disk] is one file of a small file system in user space, for a
// loop device to stand on: so every write and every flush of whatever lives there comes by, and is kept. [Disk.Cut] makes an
// image of what a power cut at some moment could have left: everything in front of the last flush that had ended, and of the
// writes behind it any, in whole or in part, as a real disk with a cache may keep them.
//
// It forgets nothing, so it is for small disks and short runs.
package powercut
