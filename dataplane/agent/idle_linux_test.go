package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/capture"
)

// idlePeriod is how long the idle machine is watched: what would feed back does so at the rate of points, three a second.
func idlePeriod() time.Duration {
	if os.Getenv("IDLE") == "long" {
		return 5 * time.Minute
	}
	return 20 * time.Second
}

// The agent's identity, counters, log and change log lie on the disk that it protects, and it is looked at for points three times a
// second. Whatever it wrote of its own accord would be a change, be sent, and make it write again.
func TestTheAgentsOwnFilesOnAProtectedDiskDoNotFeedBack(t *testing.T) {
	for _, grade := range []tracker.Grade{tracker.Bitmap, tracker.Capture} {
		t.Run(string(grade), func(t *testing.T) {
			t.Parallel()
			staysIdle(t, grade)
		})
	}
}

func staysIdle(t *testing.T, grade tracker.Grade) {
	t.Helper()
	loop := disktest.NewLoop(t, 640<<20) // large enough for blocks of 4 KiB, which the change log wants
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	w.part.State = filepath.Join(mnt, "state")
	if grade == tracker.Capture {
		if err := capture.Probe(t.Context()); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
		w.part.RingBytes, w.part.LogBytes, w.part.LogPath, w.part.LogFileBytes = 4<<20, 8<<20, filepath.Join(mnt, "changes.hrl"), 32<<20
	}
	log, err := os.Create(filepath.Join(mnt, "agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	child := w.spawnTo(log)
	child.await(t, "the initial replication", protected)
	child.await(t, "its grade", func(o agent.Observed) bool { return o.Grade == string(grade) })
	settled := child.finish(t).Checked
	d := disktest.Open(t, loop.Path)
	before, err := d.Stat()
	if err != nil {
		t.Fatal(err)
	}
	o := child.await(t, "the next look", func(o agent.Observed) bool { return o.Checked.After(settled) })
	until := o.Checked.Add(idlePeriod())
	later := child.await(t, "the period", func(n agent.Observed) bool { return n.Checked.After(until) })
	after, err := d.Stat()
	if err != nil {
		t.Fatal(err)
	}
	written, sent := int64(after.WrittenSectors-before.WrittenSectors)*512, later.Sent-o.Sent
	t.Logf("in %v: %d bytes written to the disk, %d sent, the newest point %v was %v", later.Checked.Sub(o.Checked).Round(time.Second), written, sent, later.LastPoint.Position, o.LastPoint.Position)
	// A block that is written between two looks is sent once or, if another write spoils the window, a few times.
	if sent > 4*written {
		t.Errorf("%d bytes were written to the disk and %d sent", written, sent)
	}
	if written > 1<<20 {
		t.Errorf("an idle machine wrote %d bytes to its disk", written)
	}
	if err := os.WriteFile(filepath.Join(mnt, "real"), make([]byte, 4096), 0o644); err != nil { // and it is not asleep
		t.Fatal(err)
	}
	child.await(t, "a point with a real write", beyond(later.LastPoint.Position))
	child.kill(t)
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	unmount()
}
