// Package transport carries frames of the replication protocol over TLS 1.3 between an agent and a process server. It knows
// who the other end is, and when it is silent; what the messages mean is the business of package session.
//
// A [Conn] is one connection. [Dial] makes one; a [Server] accepts them. Handshakes, reads and writes have deadlines, the
// number of connections has a limit, and whatever does not speak the protocol is closed, counted, and logged once for each
// host that it comes from: a port scan fills no log.
package transport
