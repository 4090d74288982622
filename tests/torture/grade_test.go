package torture

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"

	"farshore/dataplane/agent"
	"farshore/dataplane/tracker"
	"farshore/dataplane/tracker/bitmap"
	"farshore/dataplane/tracker/capture"
)

const (
	scanGrade    = string(tracker.Scan)
	bitmapGrade  = string(tracker.Bitmap)
	captureGrade = string(tracker.Capture)
)

// shapeGrade lets an agent have at most the grade that is wanted. A grade that this machine cannot have skips.
func shapeGrade(t *testing.T, grade, dir string, d *agent.Deps) {
	t.Helper()
	if grade == scanGrade { // no place for pins, no programs
		occupied := filepath.Join(dir, "bpf")
		if err := os.WriteFile(occupied, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := bitmap.Probe(t.Context()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	if grade != captureGrade {
		return
	}
	if err := capture.Probe(t.Context()); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	d.RingBytes, d.ChangeLog = roomyRing, roomyLog
}

// What capture has when nothing is to go wrong.
var (
	roomyRing = 32 << 20
	roomyLog  = agent.ChangeLog{MemoryBytes: 128 << 20}
)

// underway is an entry of the table of requests in flight, as track.bpf.c has it. A line of counters begins with the sectors
// written, discarded, healed of writes and healed of discards.
type underway struct {
	Sector, Stamp      uint64
	Bytes, Done, Index uint32
	Rest               [4]uint8
}

// losses reads the pinned tracker's own counters: the sectors of requests whose end it did not see, those it has healed since
// and those still in its table. It is asked while nothing is under way.
func losses(t *testing.T, pins string) (healed, unseen uint64) {
	t.Helper()
	sets, err := filepath.Glob(filepath.Join(pins, "v*-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		h, u, err := lossesOf(set)
		if err != nil {
			t.Fatalf("read the counters of the tracker %s: %v", set, err)
		}
		healed, unseen = healed+h, unseen+u
	}
	return healed, unseen
}

func lossesOf(set string) (healed, unseen uint64, err error) {
	counts, err := ebpf.LoadPinnedMap(filepath.Join(set, "counts"), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer counts.Close()
	for i := range uint32(2) { // disks
		line, err := counts.LookupBytes(i)
		if err != nil {
			return 0, 0, err
		}
		healed += binary.NativeEndian.Uint64(line[16:]) + binary.NativeEndian.Uint64(line[24:])
	}
	flights, err := ebpf.LoadPinnedMap(filepath.Join(set, "flights"), nil)
	if err != nil {
		return 0, 0, err
	}
	defer flights.Close()
	var address uint64
	var f underway
	for all := flights.Iterate(); all.Next(&address, &f); {
		unseen += uint64(f.Bytes-min(f.Done, f.Bytes)) >> 9
	}
	return healed, unseen, nil
}
