package process

import "testing"

func TestAFreePortIsNoneThatTheKernelGives(t *testing.T) {
	for range 100 {
		port, err := FreePort(t.Context())
		if err != nil || port < firstPort || port >= endPort {
			t.Fatalf("port %d, %v", port, err)
		}
	}
}
