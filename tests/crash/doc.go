// Package crash kills Farshore's programs with SIGKILL while a disk is being written to and replicated, starts them again,
// and asks the oracle whether anything that was acknowledged is lost.
//
// A *line* is the dataplane in real programs around one small disk: agent, process server, applier, and farshore-restore now
// and then, with a vault in a folder and nothing of a control plane but the hub. Its *judge* replays the stream as it grows:
// every clean end must be an exact prefix of what the blockwriter wrote, and every position that anybody was told to be durable
// must be there. In the end the newest point, the applier's replica and the disk are equal byte for byte, and the disk was
// copied in full once. Programs are killed at random moments, two at a time now and then, and in front of the n-th system call of
// a kind (strace counts the calls of each thread).
//
// The same is done, less often, with all of Farshore, where the configuration server and Temporal are killed too.
//
// Power is cut, too: vault, cache and states lie on a disk that remembers every write and flush (package powercut), and behind each of
// many cuts the oracle is asked, the programs are started on what was left, and it is asked again.
//
// Two process servers race for one machine: whatever either acknowledges is in the stream, and the one that lost it says so.
// Clocks are an hour off, the cache's volume is full, and the storage is gone for CRASH_OUTAGE seconds under load, while agent and
// process server are killed.
//
// The short forms are part of make test. make crash kills CRASH_KILLS times, tries all cells of the table of system calls, and
// lets CRASH_RACES rounds be raced, and cuts the power CRASH_CUTS times on each kind of file system.
// CRASH_SEED replays the choices of a run, though not its timing.
package crash
