// Package peer carries what the TLS layer knows of a caller to the handlers of calls: the connection's state and address.
// Who the caller is, is decided by control/nodes.
package peer
