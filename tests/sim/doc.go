// Package sim puts the pure core of the stream into a seeded world of faults: the real session machines of both ends, the
// real take-over of epochs, the real rules of the chain, between a network that breaks, servers that crash and come back
// as zombies, a store that loses requests and replies and repeats them late, an agent that is killed, and an applier that
// stops between any two pages. Machines are started again, and events are missed; then the sink offers what it holds, and
// the agent sends what differs. In some worlds the machine goes on in another body now and then: its stream is fenced and
// released to an heir that was made of a point, or that is taken back, and its former bodies live on and go on trying.
//
// The shells around the core are written here for the purpose, as simply as can be, and each rule that a shell must keep
// can be broken on purpose ([Bug]). What must hold, whatever the seed:
//
//   - every clean end of the readable stream restores to exactly what the disk held when that point was cut;
//   - everything ever acknowledged as durable is in the readable stream, and stays there;
//   - behind a release nobody writes but the body that it names;
//   - every checkpoint of the applier is a state that the stream has;
//   - when the faults stop, the stream catches up with the disk.
//
// A failing seed replays exactly: there is no clock, no goroutine and no order of maps in it.
package sim
