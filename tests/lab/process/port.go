package process

import (
	"context"
	"fmt"
	"net"
)

// FreePort lets the kernel choose a port of 127.0.0.1. It could be taken before a child binds it; then the child's start
// fails and says so.
func FreePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, fmt.Errorf("free a port: %w", err)
	}
	return port, nil
}
