package disk_test

import (
	"fmt"
	"os"
	"testing"

	"farshore/dataplane/disk"
)

// The test binary plays three parts: the tests, the watchdog, and an agent that will be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "watchdog":
			exitWith(disk.ServeWatchdog(os.Stdin, os.Stdout))
		case "freeze-and-hang":
			exitWith(freezeAndHang(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
