// Package mastertarget brings machines home: it follows their streams and writes them to sinks, which are disks, files and
// images of its host (package sink).
//
// A [Target] follows every machine that it was given sinks for, from the beginning of the stream's generation or, where
// retention has removed that, from a base. It keeps no checkpoints, offers no hashes and stores nothing in the vault.
// *Finish* names a position: the sinks are brought to exactly that, completed, flushed, and read back; every sector is
// compared with what the journal says by a replay of its own, backwards, and the figures are reported. Sinks that have
// gone past the position begin anew: what they hold is compared before it is written. A machine that is desired no longer
// is *closed*: its disks are given back, and what was known of them is forgotten.
//
// Invariants:
//   - A disk that was given back is never written again, also not because of an old desired document: before it is reported
//     as given back, the version of the document that says so is on stable storage, and older ones are not acted upon.
//   - Finished is reported only after every sector was read back from the medium and compared.
//   - What the proof reads of the journal, it reads by itself; nothing that applying has computed is used.
package mastertarget
