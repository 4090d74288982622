// Package scan finds changes by reading the whole disk and comparing hashes of its chunks with those of the time before.
// It serves image files, and disks of machines where the eBPF tracker cannot run.
//
// A table of hashes lies in the agent's run directory: 16 bytes for each chunk, of SHA-256 over a secret of the table, the
// chunk's place and its bytes. The secret keeps anyone who can place bytes on the disk from making two chunks that look
// alike. A chunk is in the caller's sink before its new hash is in the table. The table is good for one boot of one size
// of one medium; another begins a new era.
//
// A scan costs a read of the disk, so it is left out when the kernel's counters (for a file: its times) say that nothing
// was written since the last one began.
package scan
