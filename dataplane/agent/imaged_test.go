package agent_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/host"
	"farshore/dataplane/segment"
	"farshore/fault"
)

// copies makes snapshots of image files: it holds their writer, copies them, and shows the copies. It is what shadow copies
// are, made by hand.
type copies struct {
	writer    sync.Locker
	note      string       // of snapshots with applications
	unsettled int          // how many snapshots do not settle
	refuse    error        // of every snapshot
	taken     []bool       // with applications?
	released  map[bool]int // by complete
	mu        sync.Mutex
}

type copied struct {
	of      *copies
	devices []*disk.Device
	wall    time.Time
	boot    time.Duration
	note    string
	bad     bool
}

func (c *copies) Take(_ context.Context, devices []*disk.Device, applications bool) (disk.Snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		return nil, c.refuse
	}
	c.taken = append(c.taken, applications)
	shot := &copied{of: c, devices: devices, wall: time.Now(), bad: c.unsettled > 0}
	c.unsettled--
	if applications {
		shot.note = c.note
	}
	c.writer.Lock()
	defer c.writer.Unlock()
	var err error
	if shot.boot, err = host.BootClock(); err != nil {
		return nil, err
	}
	for _, d := range devices {
		body, err := os.ReadFile(d.Path())
		if err != nil {
			return nil, err
		}
		d.View(bytes.NewReader(body))
	}
	return shot, nil
}

func (c *copied) Instant() (time.Time, time.Duration) { return c.wall, c.boot }
func (c *copied) Note() string                        { return c.note }

func (c *copied) Settled(context.Context) (*fault.Fault, error) {
	if c.bad {
		return &fault.Fault{Code: "FS-1054", Kind: fault.Transient, Subject: "disk", What: "it changed"}, nil
	}
	return nil, nil
}

func (c *copied) Release(_ context.Context, complete bool) error {
	for _, d := range c.devices {
		d.View(nil)
	}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.of.released == nil {
		c.of.released = map[bool]int{}
	}
	c.of.released[complete]++
	return nil
}

// pair writes one number into two image files, again and again without a pause: between the two writes they differ, and no
// moment is quiet.
func pair(t *testing.T) (paths []string, mu *sync.Mutex) {
	t.Helper()
	dir, mu := disktest.Dir(t), &sync.Mutex{}
	var files []*os.File
	for _, name := range []string{"a.img", "b.img"} {
		path := filepath.Join(dir, name)
		file, err := os.Create(path)
		if err == nil {
			err = file.Truncate(4 << 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		files, paths = append(files, file), append(paths, path)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := uint64(1); ; n++ {
			select {
			case <-done:
				return
			default:
			}
			mu.Lock()
			for _, f := range files {
				if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, n), int64(n%1000)*4096); err != nil {
					t.Error(err)
				}
				if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, n), 0); err != nil {
					t.Error(err)
				}
			}
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-ended
		for _, f := range files {
			f.Close()
		}
	})
	return paths, mu
}

func TestPointsOfSnapshotsAreMadeWhileEverythingIsWritten(t *testing.T) {
	paths, mu := pair(t)
	w := newWorld(t, disk.Source{Path: paths[0]}, disk.Source{Path: paths[1]})
	c := &copies{writer: mu, unsettled: 1}
	w.snapshots = c
	w.part.Desired.CrashEvery = 20 * time.Millisecond
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, stop := w.start()
	o := w.await(a, "the initial replication", protected)
	for range 5 {
		o = w.await(a, "another point", beyond(o.LastPoint.Position))
	}
	stop()
	points, numbers := 0, map[uint64]bool{}
	w.restore([]int64{4 << 20, 4 << 20}, func(_ segment.Header, images []*os.File) {
		points++
		var at [2]uint64
		for i, image := range images {
			word := make([]byte, 8)
			if _, err := image.ReadAt(word, 0); err != nil {
				t.Fatal(err)
			}
			at[i] = binary.LittleEndian.Uint64(word)
		}
		if at[0] != at[1] {
			t.Errorf("a point shows %d on one disk and %d on the other", at[0], at[1])
		}
		numbers[at[0]] = true
		if pieces, first, err := disktest.Differences(images[0], images[1], 4<<20); err != nil || pieces > 0 {
			t.Errorf("the disks of a point differ in %d pieces, first at %v: %v", pieces, first, err)
		}
	})
	if points < 5 || len(numbers) < 5 {
		t.Errorf("%d points of %d different states", points, len(numbers))
	}
	if c.released[true]+c.released[false] != len(c.taken) || c.released[false] == 0 {
		t.Errorf("%d snapshots were taken; released complete %d, given up %d", len(c.taken), c.released[true], c.released[false])
	}
}

func TestAnApplicationThatDidNotTakePartMakesThePointLess(t *testing.T) {
	paths, mu := pair(t)
	w := newWorld(t, disk.Source{Path: paths[0]}, disk.Source{Path: paths[1]})
	c := &copies{writer: mu}
	w.snapshots = c
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, _ := w.start()
	w.await(a, "the initial replication", protected)
	ask := func(number uint64) farshore.RecoveryPoint {
		w.part.Desired.Cut = agent.CutRequest{Number: number, Consistency: farshore.AppConsistent, Label: "nightly"}
		a.Desire(w.part.Desired)
		return w.await(a, "the point that was asked for", func(o agent.Observed) bool { return o.CutNumber == number }).CutPoint
	}
	if p := ask(1); p.Consistency != farshore.AppConsistent || p.Note != "nightly" {
		t.Errorf("with every writer: %+v", p)
	}
	c.mu.Lock()
	c.note = "FS-1052: VSS writers: SqlServerWriter failed"
	c.mu.Unlock()
	if p := ask(2); p.Consistency != farshore.CrashConsistent || !strings.Contains(p.Note, "SqlServerWriter failed") {
		t.Errorf("with a failed writer: %+v", p)
	}
}

func TestASnapshotThatCannotBeHadIsSaidAndTheSessionGoesOn(t *testing.T) {
	paths, mu := pair(t)
	w := newWorld(t, disk.Source{Path: paths[0]}, disk.Source{Path: paths[1]})
	c := &copies{writer: mu, refuse: &fault.Fault{Code: "FS-1051", Kind: fault.Transient, Subject: "volume shadow copies", What: "no", Err: errors.New("busy")}}
	w.snapshots = c
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	a, _ := w.start()
	w.await(a, "the fault", func(o agent.Observed) bool {
		return len(o.Faults) == 1 && o.Faults[0].Code == "FS-1051" && o.ProcessServer != ""
	})
	c.mu.Lock()
	c.refuse = nil
	c.mu.Unlock()
	o := w.await(a, "a point", protected)
	if len(o.Faults) != 0 {
		t.Errorf("the fault stays: %v", o.Faults)
	}
}
