package trackertest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"farshore/dataplane/disk"
)

// WatchdogVerb makes a test binary whose TestMain is [Main] serve as the thaw watchdog.
const WatchdogVerb = "serve-thaw-watchdog"

// longEnough bounds a freeze in tests on a busy machine.
const longEnough = 5 * time.Minute

// Main runs the tests of a package that uses [Run]; call it from TestMain.
func Main(m *testing.M) {
	ServeWatchdog()
	os.Exit(m.Run())
}

// ServeWatchdog makes this process the thaw watchdog if it was started as one. It then does not return.
func ServeWatchdog() {
	if len(os.Args) != 2 || os.Args[1] != WatchdogVerb {
		return
	}
	if err := disk.ServeWatchdog(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
