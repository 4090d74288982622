// Package capture records the writes of all protected disks of a machine, with their data, in the order in which they were
// submitted: eBPF programs copy the pages of each bio into one ring when it is queued, and [Capture.Read] puts whole bios
// together. Any prefix of what Read gives is a state that a power cut could have left on the disks, all of them at once.
//
// It stands on top of a bitmap (package bitmap), which goes on marking as if there were no capture; open it after the
// bitmaps of its disks. The ring dies with the process; what comes back then, or after the ring has overflowed, is the way
// of [Return]: a copy of what the bitmap holds, made while writers go on, and the records since then on top of it.
//
// The nouns:
//
//	write      one bio as it was submitted ([Write])
//	lost       a counter that changes whenever a write could not be recorded: the ring was full, a page could not be read,
//	           the writer bypassed the block layer's queue, recording was off, or a taker refused
//	settled    every bio queued before an instant has completed: a table of pending sectors tells ([Capture.Settle])
//	ambiguous  ranges of writes that overlapped in flight, or failed: which of them is on the disk is not knowable from the
//	           order of submission, so they are to be read again ([Capture.Ambiguous])
//
// What makes it right, and what it does not trust: the place of a page's bytes is calibrated at each opening, for it changes
// with each boot; the arguments of tracepoints are looked up in the kernel's types; and a self-test with known writes on a
// scratch disk in memory refuses a kernel on which anything was captured that was not written.
//
// Pages that change while they are under way (a mapping stored to during writeback, a buffer of a direct write) may reach
// the disk otherwise than they were captured. The file system writes the first kind again later, since the store has made
// the page dirty; queue/stable_writes, set where it can be, keeps file systems mounted from then on from doing it at all.
//
// It needs x86-64, Linux 5.17 with BTF, and no lockdown=confidentiality; [Probe] says what is missing.
package capture
