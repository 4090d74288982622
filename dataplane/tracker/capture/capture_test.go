//go:build linux && amd64

package capture

import (
	"context"
	"testing"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker/trackertest"
)

func TestMain(m *testing.M) { trackertest.Main(m) }

// needCapture skips, loudly, where the kernel cannot capture.
func needCapture(t testing.TB) {
	t.Helper()
	disktest.NeedRoot(t)
	if err := Probe(t.Context()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

// open captures the loop devices and records.
func open(t testing.TB, ringBytes int, loops ...*disk.Loop) *Capture {
	t.Helper()
	config := Config{RingBytes: ringBytes}
	for _, l := range loops {
		config.Devices = append(config.Devices, disktest.Open(t, l.Path))
	}
	return openWith(t, config)
}

func openWith(t testing.TB, config Config) *Capture {
	t.Helper()
	c, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Record(true); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAKernelThatCapturesIsRecognised(t *testing.T) {
	disktest.NeedRoot(t)
	if err := Probe(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func disksOf(devices ...*disk.Device) []*disk.Device { return devices }
