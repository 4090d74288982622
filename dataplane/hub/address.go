package hub

import "net"

// Dialable reports whether an address is HOST:PORT and names a host, so that agents can reach a process server by it.
func Dialable(address string) bool {
	host, port, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && host != "" && port != "" && (ip == nil || !ip.IsUnspecified())
}
