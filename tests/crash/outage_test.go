package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/dataplane/disk/disktest"
	"farshore/fault"
	"farshore/tests/lab/stack"
	"farshore/tests/setting"
)

const (
	// shortOutage is for how many seconds the storage is gone in the short form.
	shortOutage = 5
	// smallCache is soon full; smallVolume is the volume that it is on.
	smallCache, smallVolume = 2 << 20, 4 << 20
	// mostMemory is more than any of the programs may ever have needed.
	mostMemory = 1 << 30
)

// The volume of the cache is full, then the storage is gone under load for so long that cache, window and change log are full too,
// and agent and process server are killed on the way: in the end everything is equal, and nothing was copied in full again.
func TestAFullCacheAndALongOutageOfTheStorageLoseNothing(t *testing.T) {
	disktest.NeedRoot(t)
	dir := disktest.Dir(t)
	at := place{dir: dir, stable: dir, cacheBytes: smallCache}
	mountCache(t, at)
	l := newLineOn(t, rand.New(rand.NewPCG(setting.Seed(t, "CRASH_SEED"), 1<<43)), at)
	l.fillVolume()
	away := l.site.Vault + ".away"
	if err := os.Rename(l.site.Vault, away); err != nil {
		t.Fatal(err)
	}
	begun, length := time.Now(), time.Duration(setting.Number(t, "CRASH_OUTAGE", shortOutage))*time.Second
	restarted := false
	l.awaitWithin(length+linePatience, "the outage to be told and to end", func() bool {
		if !restarted && time.Since(begun) > length/2 {
			l.running[stack.Agent].Kill()
			l.start(stack.Agent)
			restarted = true
		}
		told := l.serverTells(func(f *farshorev1.Fault) bool { return f.GetCode() == "FS-2103" || f.GetCode() == "FS-2105" })
		return told && time.Since(begun) > length
	})
	if err := os.Rename(away, l.site.Vault); err != nil {
		t.Fatal(err)
	}
	back, written := time.Now(), l.newestWrite()
	l.running[stack.ProcessServer].Kill()
	l.start(stack.ProcessServer)
	l.await("a point with what was written in the outage", func() bool {
		l.forward()
		return l.last >= written
	})
	t.Logf("the storage was gone for %v; %v after it came back the newest point held everything written till then",
		back.Sub(begun).Round(time.Second), time.Since(back).Round(time.Millisecond))
	l.awaitPoint("a point after that")
	l.conclude()
	l.printMemory()
}

// mountCache puts the cache on a small volume of its own.
func mountCache(t *testing.T, at place) {
	t.Helper()
	if err := os.Mkdir(at.cache(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("cache", at.cache(), "tmpfs", 0, fmt.Sprintf("size=%d", smallVolume)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at.cache(), unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fillVolume fills the cache's volume until the process server says so, and makes room again.
func (l *line) fillVolume() {
	l.t.Helper()
	path := filepath.Join(l.cache(), "somebody-elses")
	filler, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	l.await("a full volume to be told", func() bool {
		if _, err := filler.Write(make([]byte, 1<<20)); err != nil && !errors.Is(err, syscall.ENOSPC) {
			l.t.Fatal(err)
		}
		return l.serverTells(func(f *farshorev1.Fault) bool {
			return f.GetCode() == "FS-2103" && f.GetKind() == fault.Operator.String()
		})
	})
	if err := errors.Join(filler.Close(), os.Remove(path)); err != nil {
		l.t.Fatal(err)
	}
	l.awaitPoint("a point when there is room again")
}

// serverTells reports whether the process server's last report holds such a fault.
func (l *line) serverTells(such func(*farshorev1.Fault) bool) bool {
	return slices.ContainsFunc(l.hub.ObservedOf(serverID).GetProcessServer().GetFaults(), such)
}

// newestWrite is the last write that the writer was told to be durable on its disk.
func (l *line) newestWrite() uint64 {
	l.t.Helper()
	acks := l.acknowledged().Acks
	return acks[len(acks)-1].Seq
}

// printMemory prints the most memory that each program has had since its last start.
func (l *line) printMemory() {
	l.t.Helper()
	for _, name := range []string{stack.Agent, stack.ProcessServer, stack.Applier} {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.running[name].PID()))
		if err != nil {
			l.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmHWM:")
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			l.t.Fatal(err)
		}
		l.t.Logf("%s needed at most %d MiB", name, kib>>10)
		if kib<<10 > mostMemory {
			l.t.Errorf("%s needed %d MiB", name, kib>>10)
		}
	}
}
