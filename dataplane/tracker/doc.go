// Package tracker is the seam between the mobility agent and whatever tells it which blocks of a disk have changed.
//
// A [Disk] is one tracked disk. Its [Grade] says how changes are found:
//
//   - [Capture]: writes are recorded with their data, in order, on top of a bitmap (package capture);
//   - [Bitmap]: eBPF programs mark blocks when writes complete (package bitmap);
//   - [Scan]: the disk is read and the hashes of its chunks are compared (package scan).
//
// What every grade keeps to, and package trackertest proves on real disks under load:
//
//	take, then read   changes are taken with Exchange BEFORE the blocks are read; a write that completes behind the
//	                  exchange is in the next one
//	hand over first   a change is in the caller's [Sink] before the tracker forgets it, so that a tracker that is killed
//	                  between two instructions loses nothing
//	never silent      what could have been missed shows as a gap (Check) or as a new era; then the whole disk is suspect
//
// An era is an unbroken time of tracking one disk. It ends with a reboot, a resize, another medium, lost programs or maps,
// and whenever the caller renews it after a gap.
package tracker
