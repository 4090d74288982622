package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	farshorev1 "farshore/api/gen/farshore/v1"
)

// openTerminal opens a terminal: what is written to the end that programs use can be read as text after it was closed.
func openTerminal(t *testing.T) (end *os.File, text func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	fd := int(master.Fd())
	check(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(t, err)
	end, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	check(t, unix.IoctlSetWinsize(int(end.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 160}))
	read := make(chan string, 1)
	go func() {
		content, err := io.ReadAll(master)
		if err != nil && !strings.Contains(err.Error(), "input/output error") { // the other end was closed
			t.Error(err)
		}
		read <- string(content)
	}()
	return end, func() string {
		check(t, end.Close())
		defer master.Close()
		return <-read
	}
}

func TestOnATerminalEachStepHasABar(t *testing.T) {
	end, text := openTerminal(t)
	tool := &tool{talk: end, output: "json"} // json on stdout does not take the bars away
	screen := tool.screen()
	fence := &farshorev1.Step{Summary: "Fence the source", Status: running}
	disks := &farshorev1.Step{Summary: "Make the disks", Status: running, TotalBytes: 4 << 30, DoneBytes: 1 << 30, Progress: "applying"}
	screen.show("failover of web-01 · fencing the source", []*farshorev1.Step{fence})
	fence.Status, fence.StartedUnix, fence.ClosedUnix = completed, 100, 102
	screen.show("failover of web-01 · making the disks", []*farshorev1.Step{fence, disks})
	screen.say("no answer")
	screen.show("failover of web-01 · making the disks", []*farshorev1.Step{fence, disks})
	screen.close()
	got := text()
	for _, want := range []string{
		"failover of web-01 · making the disks", "Fence the source", "done after 2 s", "Make the disks", "applying, 25 % (1.0 GiB of 4.0 GiB)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the terminal does not show %q:\n%s", want, got)
		}
	}
}
