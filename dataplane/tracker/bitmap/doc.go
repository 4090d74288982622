// Package bitmap tracks writes with eBPF programs on the block layer: no kernel module, and tracking goes on while the
// agent is dead, for programs and maps are pinned in a bpf file system.
//
// A set is one load of the programs with its maps: one bitmap for all its disks, their counters, and the table of
// requests in flight. Disks that come later get a set of their own, so the others are not disturbed.
//
// What makes it right (track.bpf.c marks when a request COMPLETES: marking at submission loses blocks that are read
// between submission and arrival):
//
//	lost completions  a request whose completion no program saw stays in the table of flights; it is copied at every cut
//	                  until the disk has been quiet once, and marked when its place in the table is needed again
//	lost both         the kernel's own sector counters say more than ours: a gap (Check, on a quiet disk)
//	wrong marking     a self-test with known writes and discards on a scratch loop device at every load; counters cannot
//	                  show this
//	passthrough       writes by SG_IO or NVMe ioctl have no place: a gap
//
// The programs have two forms, chosen by what the kernel can do: with a bit for each block (bpf_loop, 5.17), and with a byte
// for each block and a table of ranges for long requests (Debian's 5.10). More ranges than the table holds mark the disk
// whole; while an agent takes changes every few seconds that needs 16,384 long requests of different places in between.
//
// It needs a kernel with BTF, request-based devices and queue/iostats. [Probe] says what is missing.
// Stacked devices (dm, md) are not tracked themselves; their physical disks are.
package bitmap
