// Package scrub reads what a vault holds of a machine and says exactly what of it is not what was written.
//
// [ReadGeneration] reads every segment of a generation: hashes, chain, signatures of claims, every frame. What it finds is a
// [Damage]: the part of the segment, what of which disk it held, and the recovery points that are lost by it. A [Comparison]
// reads disks and compares them with what the journal says they hold: a replica's, or those of a master target.
//
// It writes nothing, and repairs nothing: a replica can be made anew from the journal, a journal cannot be made from anything.
package scrub
