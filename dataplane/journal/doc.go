// Package journal is a machine's stream in the vault: who may write it, how it is written, and how it is read.
//
// [Claim] trades an agent's signed [Ticket] for a [Writer]: it puts the claim of the next epoch, seals every epoch below,
// and says where the stream goes on ([Resume]). A Writer prepares segments and commits them in order. [Fence] is what a
// failover does: it claims and seals, and never writes. [Unfence] takes that back; [ReleaseTo] takes it back in favour of one
// instance of the machine, its heir. A [Reader] lists machines and recovery points and follows a
// stream, with data keys opened by its [KeyOpener]. Machines' specs are kept beside the claims ([PutSpec]). A ticket may
// ask for hashes of what the stream holds; [SignOffer] and [ReadOffer] make and judge the head of what is offered.
// docs/formats/claim.md and layout.md specify what is stored.
//
// Invariants:
//   - A segment is committed when the vault answered Created or Same, and never else; anything else there means that the
//     epoch is lost ([ErrFenced]), and the writer is dead.
//   - Nothing is written in an epoch before every epoch below it, and every older generation, is sealed.
//   - Names prove nothing: a claim counts only if the vault's CA stands behind its server and the agent's ticket. One that
//     does not is ignored and reported, and segments of its epoch are not read.
//   - An instance continues what another one wrote only as the heir that a release names, and one that has handed over never
//     writes again.
//
// There is no lease and no clock in it; all mutual exclusion is by create-only puts.
package journal
