// Package capture is the second of the two simulations. Package sim, one folder up, lives the stream in bitmap grade with a
// stand-in for segments. Here the agent also captures: it sends every write in order, goes on with its log in a new session,
// loses the log, copies again while the machine writes, loses order in the middle of that, and changes grade. Segments are
// sealed and opened by the real codec; servers lose their spool or keep it, and put what they find there again; lines to the
// vault are slow, so that a seal meets puts that are still on the way. Real are also chain.Takeover, chain.Walk, chain.Link
// and both session machines. In some worlds the machine goes on in another body now and then, whose disk holds a point and an
// image of its predecessor's log; the former bodies live on and go on trying.
//
// Oracles: every clean end of the readable stream is exactly a prefix of the machine's writes; whatever was acknowledged
// as durable is in the readable stream; behind a release nobody writes but the body that it names; no snapshot holds a page of
// the future; when the faults stop, the stream catches up. One number replays a world: SEED=n; SEEDS=n says how many are run.
//
// That the oracles bite is proven by planted bugs, one rule of the design left out each. They are switches of the
// simulation's own shells; product code has none.
package capture
