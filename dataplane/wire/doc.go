// Package wire gives the messages of package session their bytes. The format is specified in docs/formats/wire.md.
//
// Every message is one frame: a header of 12 bytes (magic, version, type, length) and a body of at most [MaxBodyBytes].
// [Append] writes a frame behind a buffer, a [Reader] reads frames and uses its memory again: in the steady state neither
// allocates anything for a batch, however many blocks it carries.
//
// A frame has no checksum of its own. It only ever travels inside TLS 1.3, whose records authenticate every byte and their
// order; a CRC would cost another 0.2 CPU seconds per GiB and find nothing that the record's tag does not. What reaches
// the vault has its own checksums (package segment).
//
// The reader believes nothing: lengths are checked against limits before memory is taken, reserved bytes must be zero,
// bodies must end exactly where their fields end. Whether a message makes sense is decided by package session.
package wire
