// Package peers is the line between the machines of a group: it carries out what package group decides, over TLS 1.3 with the
// certificates of the vault, on a port of its own (20004).
//
// The nouns: a [Peers] is one machine's end; the [Cutter] is whoever can hold and cut the machine, its agent. The leader of a round
// dials every member; a machine answers the agents of its own group and nobody else, by the names in their certificates.
//
// Invariants: one goroutine steps both ends of the protocol, and waits for nobody. While the machine may be frozen nothing is logged
// and no file is written. Whatever ends, a round ends with it, and the Cutter is told to let go. Nothing here disturbs replication: a
// round that fails costs its point.
package peers
