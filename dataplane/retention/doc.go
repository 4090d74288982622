// Package retention decides what of a machine's stream stays and what may go. It is pure: it is told what there is and
// answers; nothing here reads a vault, deletes anything or asks a clock.
//
// A [Policy] is a list of tiers: all points for a day, one of each hour for a week. [Choose] takes a machine's points, the
// parts of its journal that can be read ([Run]) and its pins, and gives for each generation what may go ([Cut]): everything
// at or before a horizon except some bases, some spans of segments, and every seal.
//
// The rules, each held by a test that fails without it:
//   - Dependencies decide, never the age of an object: a kept point, a pin and each position of the window need one base
//     and every segment behind it.
//   - Age is counted on the stream's own axis ([Ages]), from its newest clean point backwards. A dead site, a long resync
//     and a clock that jumps make nothing older.
//   - The newest three points that can be restored stay, whatever the policy says.
//   - A pin is written first and looked at afterwards: it holds only if no cut that is published touches it ([Cut.Keeps]).
//     Whoever deletes looks at the pins again when the grace is over ([Cut.Sparing]).
//   - Seals are never part of a cut: with a seal gone, a writer that was fenced could be acknowledged again.
package retention
