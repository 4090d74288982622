// Package processserver is the replication gateway: it receives the streams of machines, builds sealed segments, keeps them
// on its own disk, and puts them into the vault.
//
// A [Server] holds one stream for each connected machine. The way of a change through a stream:
//
//	connection -> session.Server -> assembly (pure: where segments end) -> journal.Writer.Prepare (compress, encrypt)
//	           -> spool (fsync; Cached) -> journal.Writer.Commit (create-only put; Durable)
//
// Invariants:
//   - Cached is sent when the sealed segment is synced to the spool, Durable when the vault has it; both in order. Several
//     segments of a machine are put at once; one that is in the vault in front of its predecessor stays in the spool, and is
//     not acknowledged, until that is there too.
//   - Nothing that was acknowledged is dropped. When the cache or its volume is full, streams wait: nothing is
//     acknowledged, the window of each session closes, the agents stop sending. What waits in memory is bounded by the
//     window of each session.
//   - Below half full the cache is anybody's; above, each machine has its share, so that one cannot starve the others.
//   - Machines seal and put in turn (package pace), as many at once as the storage account takes; copies get less than changes.
//   - A cut that nobody asked for may share its segment with the next when the machine's budget of requests is spent; then the
//     end of that segment is the point.
//   - One stream at a time writes for a machine. What a stream leaves in the spool, at its end or over a restart, is put
//     into the vault before the machine's next claim: the same bytes under the same names, which harms nobody if another
//     server has taken over meanwhile.
//   - A machine is accepted when its certificate, its signed ticket and the desired document all say so.
//
// What a sink has offered to an agent (package hashes) is fetched from the vault when the agent wants it, and passed on
// unread.
//
// The package does not know the hub: desired machines come in by [Server.Allow], the state goes out by [Server.Observe].
package processserver
