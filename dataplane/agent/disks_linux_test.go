package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore"
	"farshore/dataplane/agent"
	"farshore/dataplane/block"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/segment"
	"farshore/fault"
)

// replica is a disk as the stream has it.
type replica struct {
	image       *os.File
	unspecified *block.Set
}

// replicas replays the newest generation by the disks' names, and calls at for each clean end.
func (w *world) replicas(at func(h segment.Header, all map[farshore.DiskID]*replica)) {
	w.t.Helper()
	dir, all := disktest.Dir(w.t), map[farshore.DiskID]*replica{}
	r := w.reader()
	generations, err := r.Generations(w.t.Context(), machine)
	if err != nil || len(generations) == 0 {
		w.t.Fatalf("generations %v, %v", generations, err)
	}
	for s, err := range r.Follow(w.t.Context(), r.Start(machine, generations[len(generations)-1])) {
		if err != nil {
			w.t.Fatal(err)
		}
		h := s.Header()
		for _, d := range h.Disks {
			if all[d.ID] == nil {
				image, err := os.Create(filepath.Join(dir, string(d.ID)))
				if err != nil {
					w.t.Fatal(err)
				}
				w.t.Cleanup(func() { image.Close() })
				all[d.ID] = &replica{image: image, unspecified: &block.Set{}}
			}
			if err := all[d.ID].image.Truncate(d.Sectors.Bytes()); err != nil {
				w.t.Fatal(err)
			}
		}
		for record, err := range s.Records() {
			if err != nil {
				w.t.Fatal(err)
			}
			to := all[h.Disks[record.Disk].ID]
			apply(w.t, to.image, record)
			if to.unspecified.Remove(record.Extent); record.Kind == block.Unspecified {
				to.unspecified.Add(record.Extent)
			}
		}
		if h.Clean() && !h.Seal {
			at(h, all)
		}
	}
}

// equal compares a replica with its disk, but for what the stream says is unspecified.
func (r *replica) equal(t *testing.T, node string, size int64) {
	t.Helper()
	pieces, first, err := disktest.Differences(disktest.Without(disktest.Open(t, node), r.unspecified), r.image, size)
	if err != nil || pieces > 0 {
		t.Errorf("%s differs in %d pieces, first at %v: %v", node, pieces, first, err)
	}
}

// A disk that joins is copied while points of the others go on; one that leaves costs the others nothing.
func TestDisksJoinAndLeaveUnderLoadWhilePointsOfTheOthersGoOn(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	a, b := disktest.NewLoop(t, size), disktest.NewLoop(t, size)
	mntA, unmountA := disktest.Mount(t, a.Path, "ext4")
	mntB, unmountB := disktest.Mount(t, b.Path, "ext4")
	w := newWorld(t, disk.Source{Path: a.Path, Boot: true}, disk.Source{Path: b.Path})
	ids := []farshore.DiskID{named(t, a, 0), named(t, b, 1)}
	address, _ := w.serve()
	w.part.Desired.ProcessServers, w.part.Desired.Disks = []string{address}, ids[:1]
	w.tweak = func(d *agent.Deps) { d.CopyRate = 6 << 20 } // slow enough for points while it joins
	child, stopAgent := w.start()
	o := w.await(child, "the initial replication of the first disk", protected)
	stopA, stopB := transactions(t, filepath.Join(mntA, "log")), transactions(t, filepath.Join(mntB, "log"))
	w.part.Desired.Disks = ids
	child.Desire(w.part.Desired)
	w.await(child, "the copy of the second disk", func(o agent.Observed) bool { return o.Copies == 2 })
	o = w.await(child, "a point behind it", func(n agent.Observed) bool { return protected(n) && beyond(o.LastPoint.Position)(n) })
	o = w.await(child, "a point of both disks", beyond(o.LastPoint.Position))
	w.part.Desired.Disks = ids[1:]
	child.Desire(w.part.Desired)
	o = w.await(child, "a point without the first disk", beyond(o.LastPoint.Position))
	t.Logf("%d and %d transactions", stopA(), stopB())
	unmountA()
	unmountB()
	o = finish(w, child)
	stopAgent()
	if o.Copies != 2 {
		t.Errorf("%d copies of disks were begun, the last because %q; want one of each", o.Copies, o.CopyWhy)
	}
	joining, both, alone := 0, 0, 0
	var last map[farshore.DiskID]*replica
	w.replicas(func(h segment.Header, all map[farshore.DiskID]*replica) {
		last = all
		switch {
		case len(h.Disks) == 2 && h.Disks[1].Joining:
			joining++
		case len(h.Disks) == 2:
			both++
		case h.Disks[0].ID == ids[1]:
			alone++
		}
	})
	if joining == 0 || both == 0 || alone == 0 {
		t.Errorf("%d points while the second disk joined, %d of both, %d behind the first had left; want some of each", joining, both, alone)
	}
	t.Logf("%d points while the second disk joined, %d of both, %d behind the first had left", joining, both, alone)
	last[ids[1]].equal(t, b.Path, size)
}

// A disk that is taken away stops the points of its machine and says so. When it is back it alone is copied again.
func TestADiskThatWasTakenAwayAndComesBackIsCopiedAgainAlone(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	stays, leaves := disktest.NewLoop(t, size), disktest.NewLoop(t, size)
	ids := []farshore.DiskID{named(t, stays, 0), named(t, leaves, 1)}
	w := newWorld(t)
	w.part.Desired.Disks = ids
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	w.tweak = func(d *agent.Deps) {
		d.Sources = func() ([]disk.Source, error) {
			return []disk.Source{{Path: stays.Path, Boot: true}, {Path: leaves.Path}}, nil
		}
	}
	a, stop := w.start()
	o := w.await(a, "the initial replication", protected)
	image := backing(t, leaves)
	content, err := os.ReadFile(image)
	if err == nil {
		err = os.Truncate(image, 0)
	}
	if err == nil {
		err = unix.IoctlSetInt(int(leaves.Node().Fd()), unix.LOOP_SET_CAPACITY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.await(a, "the loss of the disk", func(o agent.Observed) bool { return told(o, "FS-1010") })
	copy(content[8<<20:], "written elsewhere")
	if err = os.WriteFile(image, content, 0o600); err == nil {
		err = unix.IoctlSetInt(int(leaves.Node().Fd()), unix.LOOP_SET_CAPACITY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	o = w.await(a, "a point with the disk", func(n agent.Observed) bool { return protected(n) && beyond(o.LastPoint.Position)(n) })
	o = finish(w, a)
	stop()
	if o.Copies != 3 || told(o, "FS-1010") {
		t.Errorf("%d copies of disks were begun, the last because %q, faults %v; want 3 and none", o.Copies, o.CopyWhy, o.Faults)
	}
	var last map[farshore.DiskID]*replica
	w.replicas(func(_ segment.Header, all map[farshore.DiskID]*replica) { last = all })
	last[ids[0]].equal(t, stays.Path, size)
	last[ids[1]].equal(t, leaves.Path, size)
}

func backing(t *testing.T, loop *disk.Loop) string {
	t.Helper()
	info, err := unix.IoctlLoopGetStatus64(int(loop.Node().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(info.File_name[:])
}

func told(o agent.Observed, code string) bool {
	for _, f := range o.Faults {
		if f, ok := fault.As(f); ok && f.Code == code {
			return true
		}
	}
	return false
}

// Neither a clock that is set nor a machine that is starved ends replication.
func TestPointsGoOnThroughSetClocksOnAStarvedMachine(t *testing.T) {
	t.Parallel()
	loop := disktest.NewLoop(t, 64<<20)
	mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
	w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
	address, _ := w.serve()
	w.part.Desired.ProcessServers = []string{address}
	var offset, asked atomic.Int64
	w.tweak = func(d *agent.Deps) {
		d.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())).Round(0) }
		d.Pressure = func() float64 { asked.Add(1); return 1 }
	}
	a, stopAgent := w.start()
	o := w.await(a, "the initial replication on a starved machine", protected)
	stop := transactions(t, filepath.Join(mnt, "log"))
	for _, step := range []time.Duration{-6 * time.Hour, 6 * time.Hour, 0} {
		offset.Store(int64(step))
		for range 2 { // the first may have been under way
			o = w.await(a, fmt.Sprintf("a point with the clock %v off", step), beyond(o.LastPoint.Position))
		}
	}
	t.Logf("%d transactions", stop())
	unmount()
	w.await(a, "a look by the clock that is right again", func(o agent.Observed) bool { return time.Since(o.Checked) > -time.Minute })
	o = finish(w, a)
	stopAgent()
	if o.Copies != 1 || asked.Load() == 0 {
		t.Errorf("%d copies were begun, the last because %q; pressure was asked for %d times", o.Copies, o.CopyWhy, asked.Load())
	}
	w.endsEqual(loop)
}

// named gives a disk a name of its own by the signature of a boot record: ext4 leaves its first kilobyte to others.
func named(t *testing.T, l *disk.Loop, i int) farshore.DiskID {
	t.Helper()
	head := make([]byte, 512)
	if _, err := l.Node().ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	copy(head[440:], []byte{byte(i + 1), 2, 3, 4})
	copy(head[510:], []byte{0x55, 0xAA})
	if _, err := l.Node().WriteAt(head, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Node().Sync(); err != nil {
		t.Fatal(err)
	}
	id, err := disk.Identify(disktest.Open(t, l.Path))
	if err != nil {
		t.Fatal(err)
	}
	return id
}
