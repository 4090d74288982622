// Package chain holds the order of a machine's stream: which segment follows which, what ends an epoch, and how a new
// writer takes over. It is pure: machines that are told what was found and say what to ask for next.
//
// A generation is a sequence of epochs, an epoch a sequence of segments that ends with a seal. [Link] is the end of one
// segment and knows what may follow ([Link.Accept]). [Takeover] makes sure that every epoch below a claimed one is
// sealed, in ascending order, each in its first hole. [Walk] is a reader's cursor. The names of the blobs are here too.
//
// Invariants, which rest on create-only puts: the contiguous prefix of an epoch never changes; what lies behind a seal
// or behind a hole is never read; no writer resumes from anything but the seal of the epoch below its own.
package chain
