// Command farshore-restore gets machines out of a vault when nothing else is left: no configuration server, no Temporal,
// no agent. It needs the vault (a folder or a storage account) and the vault key or the recovery key. It only reads the
// vault; import and pin alone put something there, and replace nothing.
//
//	ls       which machines are there
//	points   which recovery points a machine has
//	verify   read every byte of a machine's journal, or of the vault, and say exactly what is damaged
//	write    restore the disks of a recovery point to raw images, fixed VHDs or devices
//	pin      keep a recovery point, whatever retention says; unpin lets it go again
//	export   take machines out in a form that can be carried
//	import   bring them into the vault's storage elsewhere
//	inspect  explain one object: a segment, a claim, a spec, the vault's description
//
// A restore starts from zeros and replays the journal of the point's generation from its start, so it trusts no replica
// disk and no index. Where retention has removed the start it begins from the snapshots of a base, and compares each chunk
// of them with a signed list. Results go to standard output, as text or with -o json; talk and progress go to standard error. Exit
// codes are those of docs/faults.md.
package main
