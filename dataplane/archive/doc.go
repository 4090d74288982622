// Package archive takes machines out of a vault in a form that can be carried, and brings them into another place of the
// same vault. docs/formats/export.md specifies the form: a tar file, or a folder that is a vault of kind file itself.
//
// A [Plan] says which objects an archive holds: the vault's own documents, claims with what belongs to them, and the
// readable part of streams, in the order in which they are brought. [Export] writes them, and goes on where it was broken
// off. [Open] checks an archive whole before anything of it is believed; [Archive.Compare] and [Archive.Import] put it into
// a store.
//
// Invariants:
//   - Objects are carried as they are, byte for byte: encrypted, signed, with the names they had.
//   - Nothing is put before every object was read and compared with its sum, every claim is believed, every stream holds
//     together, and nothing of it is in the destination with other content.
//   - An import creates and never replaces. Claims come before segments, so that a writer who takes the stream over in the
//     middle of it seals what is not there yet, and the import stops.
package archive
