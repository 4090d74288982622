// Package session is the replication protocol between a mobility agent and a process server, as two pure state machines:
// [Agent] and [Server]. Each is stepped with an [Event] and answers with [Effect]s; sockets, clocks and disks are the
// business of packages uplink and processserver. Package wire gives the messages their bytes.
//
// A session goes so:
//
//	agent                                  process server
//	Hello (signed ticket, disks)  ----->   claims an epoch of the machine's stream
//	                              <-----   Opened (where to go on)      or Refused
//	Batch 1, Batch 2, Cut 3, ...  ----->   builds segments
//	                              <-----   Cached (on the server's disk: the window opens again)
//	                              <-----   Durable (in the vault: the agent may forget what lies before a clean cut)
//	Want ------------------------------>   a piece of what a sink has offered for this epoch
//	                              <-----   Offer
//	                              <-----   Fenced (the epoch is lost: open a new session)
//
// Invariants, each held by a test that fails without it:
//   - Batches and cuts are numbered from 1 without a gap.
//   - The log goes on where the stream ended: a first LSN other than the last + 1 is refused, unless the batch says that
//     a re-copy begins (Jump). The hash chain of the segments is made by the server and would hide such a hole.
//   - A disk is clean only after a cut said so and while nothing but the log followed. Behind an unclean end, nothing is
//     clean before a re-copy has begun.
//   - Acknowledgements come in order and name generation, epoch, seq and session: an LSN would not do, because copies
//     consume none.
//   - No more bytes are under way than the window.
//   - A machine has one session at a server ([Roster]); a newer one ends the older. No session survives the end of its
//     connection or a restart of either end.
package session
