// Package group is how machines make a point together, as a protocol without input, output or clock.
//
// One member *leads* a [Lead]; every member, the leader too, answers as a [Member]. Both take events and give effects:
// Step(now, event) -> effects; shells carry the effects out (package peers: the line between members; package agent: the cut).
//
// A *round* is one try:
//
//	call    who is there, and ready: everything is sent that can be before
//	freeze  hold the file systems still; frozen: they are, and the kernel's counts of writes were noted
//	mark    the sending of it is the common instant; marked: the stream was cut, and the machine was held from frozen to the cut
//	sealed  the marker segment is durable, and the member has signed where it stands
//	over    the round has ended
//
// Why it is right: every member that is left at the common instant was held from before it until its own cut. So its cut is what
// its disks held at that instant, and what any of them did because of another's write came later.
//
// Invariants:
//   - MARK is sent when every member that is still in the round has said that it is frozen, and never before.
//   - A member that does not answer in time, refuses, or was not held, is out of the round, and the point names it as missing. What
//     the others hold is a cut without it. With fewer than two the round ends, and says why.
//   - The point is given away only when every member in it has said, for this very round, that its marker is durable.
//   - A member answers each round once, and only rounds higher than all that it has answered.
//   - Nothing stays frozen: a member lets go by itself when the leader is gone, silent for [Times.Hold], or says that it is over.
//   - Nobody must lead: who does is decided by [Due] alone, and two that lead at once only refuse each other.
package group
