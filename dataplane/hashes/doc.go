// Package hashes is what a sink offers to an agent that cannot know any more which of its blocks the stream holds: the
// hashes of the chunks of a replica disk, as they are at one position. docs/formats/hashes.md specifies the bytes.
//
// The nouns:
//
//   - a *chunk*: [ChunkBytes] of a disk at a multiple of that; the last one of a disk may be shorter;
//   - a *part*: the hashes of [PartChunks] chunks, one object in the vault ([Part]);
//   - an *offer*: the parts of all disks that one applier made with one [Secret]; its head, which package journal signs and
//     seals the secret into, says where it was computed.
//
// Invariants:
//   - A hash is keyed with the offer's secret and bound to disk and place. Whoever does not have the secret can neither make
//     a chunk that passes for another, nor see that two chunks are equal. What he can see is which chunks are zeros.
//   - A part carries a code that only the secret makes: what changed on its way is not believed.
//   - Nothing here says for which position an offer is good. That is the whole of what makes it right, and it is said by the
//     name: an offer answers the claim of one epoch, and was computed at the seal in front of it.
package hashes
