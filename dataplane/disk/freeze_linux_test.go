package disk_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/fault"
)

// tooLong is a bound that no test waits for.
const tooLong = time.Hour

func newFreezer(t *testing.T) *disk.Freezer {
	t.Helper()
	f := disk.NewFreezer(os.Args[0], "watchdog")
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func systemsOn(t *testing.T, node string) []disk.FileSystem {
	t.Helper()
	systems, err := disk.FileSystems(disktest.Open(t, node))
	if err != nil {
		t.Fatal(err)
	}
	return systems
}

// tryWrite writes a file in another process, for a writer to a frozen file system cannot be interrupted.
func tryWrite(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "dd", "if=/dev/zero", "of="+path, "bs=4096", "count=1", "conv=fsync")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestFrozenFileSystemsTakeNoWritesUntilThawed(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			loop := disktest.NewLoop(t, 512<<20)
			mnt, _ := disktest.Mount(t, loop.Path, kind)
			d := disktest.Open(t, loop.Path)
			systems := systemsOn(t, loop.Path)
			if len(systems) != 1 || systems[0].MountPoint != mnt || systems[0].Type != kind {
				t.Fatalf("file systems on %s = %+v, want the %s at %s", loop.Path, systems, kind, mnt)
			}
			f := newFreezer(t)
			if _, err := f.Freeze(t.Context(), systems, tooLong); err != nil {
				t.Fatal(err)
			}
			before, err := d.Stat()
			if err != nil {
				t.Fatal(err)
			}
			writer := tryWrite(t, filepath.Join(mnt, "a"))
			// The only proof that a writer sleeps is its state.
			waitForState(t, writer.Process.Pid, "D")
			after, err := d.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if !before.SameWrites(after) || after.InFlight != 0 {
				t.Errorf("while frozen the counters went from %+v to %+v", before, after)
			}
			held, err := f.Thaw(t.Context())
			if err != nil || !held {
				t.Fatalf("Thaw = held %v, error %v; want true, nil", held, err)
			}
			if err := writer.Wait(); err != nil {
				t.Fatalf("write behind the thaw: %v", err)
			}
		})
	}
}

func waitForState(t *testing.T, pid int, want string) {
	t.Helper()
	for t.Context().Err() == nil {
		body, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		var number int
		var name, state string
		if _, err := fmt.Sscan(string(body), &number, &name, &state); err == nil && state == want {
			return
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil) // between two looks
	}
}

func TestTheWatchdogThawsWhenTheBoundIsOver(t *testing.T) {
	loop := disktest.NewLoop(t, 64<<20)
	mnt, _ := disktest.Mount(t, loop.Path, "ext4")
	f := newFreezer(t)
	if _, err := f.Freeze(t.Context(), systemsOn(t, loop.Path), 3*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := tryWrite(t, filepath.Join(mnt, "a")).Wait(); err != nil { // sleeps until the bound is over
		t.Fatal(err)
	}
	held, err := f.Thaw(t.Context())
	if err != nil || held {
		t.Errorf("Thaw behind the bound = held %v, error %v; want false, nil", held, err)
	}
	if _, err := f.Freeze(t.Context(), systemsOn(t, loop.Path), tooLong); err != nil {
		t.Fatalf("freeze again: %v", err)
	}
	if held, err := f.Thaw(t.Context()); err != nil || !held {
		t.Errorf("Thaw of the second freeze = held %v, error %v; want true, nil", held, err)
	}
}

func freezeAndHang(node string) error {
	d, err := disk.Open(node)
	if err != nil {
		return err
	}
	systems, err := disk.FileSystems(d)
	if err != nil {
		return err
	}
	if _, err := disk.NewFreezer(os.Args[0], "watchdog").Freeze(context.Background(), systems, tooLong); err != nil {
		return err
	}
	fmt.Println("frozen")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func TestAKilledAgentLeavesNothingFrozen(t *testing.T) {
	loop := disktest.NewLoop(t, 64<<20)
	mnt, _ := disktest.Mount(t, loop.Path, "ext4")
	agent := exec.CommandContext(t.Context(), os.Args[0], "freeze-and-hang", loop.Path)
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agent.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "frozen\n" {
		t.Fatalf("the agent said %q (%v), want frozen", line, err)
	}
	writer := tryWrite(t, filepath.Join(mnt, "a"))
	waitForState(t, writer.Process.Pid, "D")
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err == nil {
		t.Error("the killed agent ended well")
	}
	if err := writer.Wait(); err != nil { // for an hour, if nobody thaws
		t.Fatal(err)
	}
}

func TestAFreezeThatCannotBeMadeLeavesNothingFrozenAndSaysWhy(t *testing.T) {
	loop := disktest.NewLoop(t, 64<<20)
	mnt, _ := disktest.Mount(t, loop.Path, "ext4")
	systems := append(systemsOn(t, loop.Path), disk.FileSystem{MountPoint: filepath.Join(mnt, "absent")})
	f := newFreezer(t)
	_, err := f.Freeze(t.Context(), systems, tooLong)
	if got, ok := fault.As(err); !ok || got.Code != "FS-1002" {
		t.Fatalf("Freeze = %v, want FS-1002", err)
	}
	if err := tryWrite(t, filepath.Join(mnt, "a")).Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAKilledWatchdogLeftFrozenIsThawedByTheRecord(t *testing.T) {
	loop := disktest.NewLoop(t, 512<<20)
	mnt, _ := disktest.Mount(t, loop.Path, "ext4")
	systems := systemsOn(t, loop.Path)
	record := filepath.Join(t.TempDir(), "frozen.json")
	f := newFreezer(t)
	f.Remember(record)
	if _, err := f.Freeze(t.Context(), systems, tooLong); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(record); err != nil {
		t.Fatalf("while it is frozen: %v", err)
	}
	if held, err := f.Thaw(t.Context()); !held || err != nil {
		t.Fatalf("held %v: %v", held, err)
	}
	if _, err := os.Stat(record); !os.IsNotExist(err) {
		t.Fatalf("after the thaw the record is still there: %v", err)
	}
	if points, err := disk.ThawRemembered(record); err != nil || len(points) > 0 {
		t.Fatalf("without a record: %v %v", points, err)
	}

	dir, err := os.Open(mnt) // as if agent and watchdog had been killed in a freeze
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.IoctlSetInt(int(dir.Fd()), 0xC0045877, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(record, fmt.Appendf(nil, "[%q]", mnt), 0o600); err != nil {
		t.Fatal(err)
	}
	if points, err := disk.ThawRemembered(record); err != nil || len(points) != 1 {
		t.Fatalf("thawed %v: %v", points, err)
	}
	if err := tryWrite(t, filepath.Join(mnt, "file")).Wait(); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}
