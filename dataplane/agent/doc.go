// Package agent replicates the disks of a machine: it sends a full copy, then what changes, and makes recovery points.
//
// The nouns:
//
//   - the *base* of a disk: the blocks still owed of a full copy. What no file system uses when it begins is taken out of it
//     and stated as unspecified (package freespace says why that is right);
//
//   - the *pending* blocks: changed and not yet durable behind a clean end, kept per sending interval;
//
//   - a *round*: what changed is taken from the tracker and sent, under load; its end is no recovery point;
//
//   - a *window*: the changes are taken, read into memory, and it is proven by the kernel's own counters that no write
//     reached any disk meanwhile. What was read is then the state of the machine at one instant. Its end is a point.
//
//   - *order*: where writes can be captured, a recorder moves them from the kernel's ring into the change log in the order in
//     which they were submitted, and the stream follows the log. Every end of a write is a point then, and nothing is held
//     still. An *upgrade* gains order (copy under load, then redo what was recorded meanwhile); whatever cannot be recorded
//     loses it, and the agent falls back to rounds and windows.
//
// Windows are first tried as they come; on a busy machine the file systems are frozen for one. A window needs no freeze to
// be right, and a freeze is not believed without the proof: a swap partition or a raw database can be written through it.
// An idle machine is never frozen, for thawing writes to the disk and would make changes out of nothing.
//
// On Windows nothing can be frozen and nothing proves quiet: there a point is what a snapshot of the disks shows, found and read
// in it (imaged.go).
//
// Invariants:
//   - A block leaves the base when a segment that holds it is durable, and tracking was continuous since it was read.
//   - A block leaves the pending sets only when a clean end behind all sendings of its interval is durable (R4).
//   - What is pending is sent again in every new session, behind a Jump.
//   - Nothing behind a write that was not recorded is sent as a part of the order.
//   - A session goes on with the change log only if the stream's end lies behind the copies that order began with, and the
//     log reaches back to it; else what is pending is copied.
//   - A gap in tracking (reboot, missed events, resize, another medium) makes the whole disk the base again, within the same
//     generation; its reason and size are reported. It ends the session: the next one begins behind a sealed end, of which
//     a sink can offer hashes, and sends of the base only what differs (a *resync*).
//   - A vault that no longer holds a point which was durable in it makes every disk the base again.
//   - A chunk is left out as equal only if it was equal at exactly that end, and everything sent since is still pending.
//   - A chunk is called different from the replica only if it was looked up in the tracker behind its reading, and nothing of it
//     was owed, pending or changed since the end that the replica's hashes are of.
//   - What is stated as unspecified goes out before anything that was read or captured behind the freeze that told it free.
//   - A copy of a base may be slowed down; what changes never is.
//   - Nothing is logged per point: on a protected root disk the line itself would be the next change.
//
// Base and pending sets are bitmaps in mapped files of the run directory, so a killed agent goes on where it was. They are
// worth nothing after a reboot, and the tracker's era says so. The package does not know the hub: desired comes in by
// [Agent.Desire], the state goes out by [Agent.Observe].
package agent
