package agent_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"farshore/dataplane/agent"
	"farshore/dataplane/disk"
	"farshore/dataplane/disk/disktest"
	"farshore/dataplane/segment"
)

const (
	hotBlock = 5 << 20  // a place on the disk
	rewrites = 12 << 8  // of the hot block: 12 MiB, more than the memory of the change log holds and more than goes into one batch
	smallLog = 8 << 20  // memory
	fileLog  = 64 << 20 // behind it
)

// interrupted is an agent's clock that knows which step reads it, and acts in the middle of some. Steps are named with those that
// they are a part of, the innermost first.
type interrupted struct {
	t           *testing.T
	disk, log   string
	before      string // a block is rewritten here: the log gets all of it
	within      string // a part of the log is sent here, and then the log is lost
	written     bool   // and order was not lost since
	interrupted atomic.Bool
}

func (i *interrupted) now() time.Time {
	step := steps()
	switch {
	case step == "" || i.interrupted.Load():
	case !i.written && strings.HasPrefix(step, i.before):
		i.written = true
		rewrite(i.t, i.disk, hotBlock, rewrites)
	case i.written && strings.HasPrefix(step, i.within):
		blank(i.t, i.log)
		i.interrupted.Store(true)
	case i.written && strings.HasPrefix(step, "postpone "): // order was lost too early: another time
		i.written = false
	}
	return time.Now()
}

// steps gives the methods of a session that are under way, the innermost first.
func steps() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	var names strings.Builder
	for {
		f, more := frames.Next()
		if _, method, found := strings.Cut(f.Function, "agent.(*sending)."); found {
			names.WriteString(method + " ")
		}
		if !more {
			return names.String()
		}
	}
}

// rewrite writes a block again and again, each time with the next number.
func rewrite(t *testing.T, node string, at int64, times int) {
	t.Helper()
	f, err := os.OpenFile(node, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	b := disk.Buffer(4096)
	for n := range times {
		binary.LittleEndian.PutUint64(b, uint64(n+1))
		if _, err := f.WriteAt(b, at); err != nil {
			t.Error(err)
			return
		}
	}
}

// blank has a file hold zeros.
func blank(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if _, err = f.WriteAt(make([]byte, fileLog), 0); err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Error(err)
	}
}

// A block is written many times, and is taken out of the bitmap. Of the log that holds these writes only the first part is sent, and
// then it cannot be read: the stream is behind the disk, and no mark says so.
func TestAPartOfTheLogIsCopiedOver(t *testing.T) {
	for _, row := range []struct {
		name, before, within string
		parts                bool // are points: each write made one
	}{
		{"a redo", "exchange upgrade ", "report sendLog cutLog redo ", false}, // the copy in front of it holds the last write
		{"a point in order", "orderedCycle ", "report sendLog cutLog orderedPoint ", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			loop := disktest.NewLoop(t, 16<<20)
			w := capturing(t, ampleRing, smallLog, disk.Source{Path: loop.Path})
			mnt, _ := disktest.Mount(t, disktest.NewLoop(t, diskBytes).Path, "xfs")
			w.part.LogPath, w.part.LogFileBytes = filepath.Join(mnt, "changes.hrl"), fileLog
			address, _ := w.serve()
			w.part.Desired.ProcessServers = []string{address}
			clock := &interrupted{t: t, disk: loop.Path, log: w.part.LogPath, before: row.before, within: row.within}
			w.tweak = func(d *agent.Deps) { d.Now = clock.now }
			a, stop := w.start()
			o := w.await(a, "a step to be interrupted", func(agent.Observed) bool { return clock.interrupted.Load() })
			rewrite(t, loop.Path, 2*hotBlock, 1) // so that there will be a point
			w.await(a, "a point behind it", beyond(o.LastPoint.Position))
			stop()
			held := w.heldAtPoints()
			t.Logf("writes that the points hold: %v of %d", held, rewrites)
			if held[len(held)-1] != rewrites {
				t.Errorf("the last point holds write %d of %d", held[len(held)-1], rewrites)
			}
			if part := slices.IndexFunc(held, func(n uint64) bool { return n != 0 && n != rewrites }); part >= 0 && !row.parts {
				t.Errorf("point %d holds write %d of %d, and blocks as they were later", part, held[part], rewrites)
			}
		})
	}
}

// heldAtPoints gives, for each point, which write to the hot block it holds.
func (w *world) heldAtPoints() (numbers []uint64) {
	w.t.Helper()
	w.restore([]int64{16 << 20}, func(_ segment.Header, images []*os.File) {
		b := make([]byte, 8)
		if _, err := images[0].ReadAt(b, hotBlock); err != nil {
			w.t.Fatal(err)
		}
		numbers = append(numbers, binary.LittleEndian.Uint64(b))
	})
	return numbers
}
