package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// Ports that no kernel gives by itself, neither to a connection nor to who listens on any port: a program that is started later, or
// is killed and started again, finds its port still free. Linux begins to give at 32768, others at 49152.
const (
	firstPort = 16384
	endPort   = 32768
	portTries = 1000
)

// FreePort draws a port of 127.0.0.1 that nobody listens on.
func FreePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	for range portTries {
		port := firstPort + rand.IntN(endPort-firstPort)
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("find a free port: each of %d that were tried is in use", portTries)
}
