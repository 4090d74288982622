package agent_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/document"
	"farshore/dataplane/segment"
)

// trouble is something that is done to a protected machine behind the agent's back, under load.
type trouble struct {
	name   string
	dead   bool // done while no agent runs
	do     func(t *testing.T, w *world, loop *disk.Loop)
	undo   func(t *testing.T, loop *disk.Loop) // when the agent has noticed
	copies int64                               // of the whole disk that it costs
	why    string                              // that is reported
}

var troubles = []trouble{
	{name: "the pins are removed while the agent runs", do: func(t *testing.T, w *world, _ *disk.Loop) {
		remove(t, w.part.Pins)
		comesBack(t, w.part.Pins, "v2-*", "on_issue")
	}},
	{name: "the run directory is removed while the agent runs", do: func(t *testing.T, w *world, _ *disk.Loop) {
		remove(t, w.part.Run)
		comesBack(t, w.part.Run, "run.json")
	}},
	{name: "the disk is taken out of the tracker's table", do: func(t *testing.T, w *world, _ *disk.Loop) { blind(t, w.part.Pins) }, copies: 1, why: "table"},
	{name: "the disk grows", do: func(t *testing.T, _ *world, loop *disk.Loop) { grow(t, loop, 96<<20) }, copies: 1, why: "size"},
	{
		name: "the kernel's counters are switched off", do: func(t *testing.T, _ *world, loop *disk.Loop) { count(t, loop, false) },
		undo: func(t *testing.T, loop *disk.Loop) { count(t, loop, true) }, copies: 1, why: "iostats",
	},
	{name: "the pins are removed while no agent runs", dead: true, do: func(t *testing.T, w *world, _ *disk.Loop) { remove(t, w.part.Pins) }, copies: 1, why: "interrupted"},
	{name: "the run directory is removed while no agent runs", dead: true, do: func(t *testing.T, w *world, _ *disk.Loop) { remove(t, w.part.Run) }, copies: 2, why: "run directory"},
	{name: "the machine is started again", dead: true, do: func(t *testing.T, w *world, _ *disk.Loop) { anotherBoot(t, w.part) }, copies: 1, why: "started again"},
}

// Whatever is done to it, the smallest sound copy follows, once, with its reason; the end is byte-equal.
func TestWhateverIsDoneToAProtectedDiskCostsOneCopyAtMostAndSaysWhy(t *testing.T) {
	for _, trouble := range troubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			loop := disktest.NewLoop(t, 64<<20)
			mnt, unmount := disktest.Mount(t, loop.Path, "ext4")
			w := newWorld(t, disk.Source{Path: loop.Path, Boot: true})
			address, _ := w.serve()
			w.part.Desired.ProcessServers = []string{address}
			child := w.spawn()
			o := child.await(t, "the initial replication", protected)
			stop := transactions(t, filepath.Join(mnt, "log"))
			o = child.await(t, "a point under load", beyond(o.LastPoint.Position))
			before := o.Copies
			if trouble.dead {
				child.kill(t)
				trouble.do(t, w, loop)
				child, before = w.spawn(), 0
			} else {
				trouble.do(t, w, loop)
			}
			if trouble.copies == 0 { // then nothing must be missed by the next agent either
				child.kill(t)
				child, before = w.spawn(), 0
			}
			o = child.await(t, "the copies that it costs", func(o agent.Observed) bool { return o.Copies >= before+trouble.copies })
			if trouble.undo != nil {
				trouble.undo(t, loop)
			}
			o = child.await(t, "a point behind them", func(next agent.Observed) bool { return protected(next) && beyond(o.LastPoint.Position)(next) })
			t.Logf("%d transactions", stop())
			unmount()
			o = child.finish(t)
			child.kill(t)
			if o.Copies != before+trouble.copies || trouble.copies > 0 && !strings.Contains(o.CopyWhy, trouble.why) {
				t.Errorf("%d copies were begun, the last because %q; want %d, because of %q", o.Copies-before, o.CopyWhy, trouble.copies, trouble.why)
			}
			w.endsEqual(loop)
		})
	}
}

// endsEqual compares the newest point with the disk.
func (w *world) endsEqual(loop *disk.Loop) {
	w.t.Helper()
	sectors, err := disktest.Open(w.t, loop.Path).Sectors()
	if err != nil {
		w.t.Fatal(err)
	}
	var last []*os.File
	w.restore([]int64{sectors.Bytes()}, func(h segment.Header, images []*os.File) {
		last = images
		if h.Position().Generation != 1 {
			w.t.Errorf("the point %v is of another generation", h.Position())
		}
	})
	if last == nil {
		w.t.Fatal("there is no point")
	}
	w.equals(0, loop.Path, last[0], sectors.Bytes())
}

// count switches the kernel's counting of writes: the device would keep it beyond this test.
func count(t *testing.T, loop *disk.Loop, on bool) {
	t.Helper()
	path, value := filepath.Join("/sys/block", filepath.Base(loop.Path), "queue/iostats"), map[bool]string{true: "1", false: "0"}
	t.Cleanup(func() {
		if err := os.WriteFile(path, []byte(value[true]), 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(path, []byte(value[on]), 0); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// comesBack waits until a file that matches is there again.
func comesBack(t *testing.T, parts ...string) {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for t.Context().Err() == nil {
		if found, err := filepath.Glob(filepath.Join(parts...)); err != nil || len(found) > 0 {
			return
		}
		<-look.C
	}
	t.Fatalf("%v did not come back", parts)
}

// blind empties the table by which the programs know the disks.
func blind(t *testing.T, pins string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(pins, "v2-*", "disks"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no table of disks is pinned in %s: %v", pins, err)
	}
	for _, path := range tables {
		table, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := emptied(table); err != nil {
			t.Fatal(err)
		}
	}
}

// emptied takes the one disk out of the table.
func emptied(table *ebpf.Map) error {
	var number uint32
	if err := table.NextKey(nil, &number); err != nil {
		return err
	}
	return errors.Join(table.Delete(number), table.Close())
}

// grow makes a loop device larger and writes behind its old end.
func grow(t *testing.T, loop *disk.Loop, size int64) {
	t.Helper()
	info, err := unix.IoctlLoopGetStatus64(int(loop.Node().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(unix.ByteSliceToString(info.File_name[:]), size); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(loop.Node().Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := loop.Node().WriteAt([]byte("behind the old end"), size-4096); err != nil {
		t.Fatal(err)
	}
	if err := loop.Node().Sync(); err != nil {
		t.Fatal(err)
	}
}

// anotherBoot makes everything look as it does behind a reboot with a run directory that survived it.
func anotherBoot(t *testing.T, p part) {
	t.Helper()
	path := filepath.Join(p.Run, "run.json")
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]any{}
	if err := document.Decode(body, &run); err != nil {
		t.Fatal(err)
	}
	delete(run, "checksum")
	run["boot"] = "00000000-0000-4000-8000-000000000000"
	if body, err = document.Encode(run); err == nil {
		err = os.WriteFile(path, body, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
