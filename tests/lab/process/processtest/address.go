package processtest

import (
	"net"
	"strconv"
	"testing"

	"farshore/tests/lab/process"
)

// FreeAddress is 127.0.0.1 with a port that nobody listens on, and that the kernel gives to nobody by itself.
func FreeAddress(t testing.TB) string {
	t.Helper()
	port, err := process.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
