package changelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/hrl"
	"farshore/fault"
)

const smallPages = hrl.MinFramePages // frames of 32 KiB: a log wraps often

var (
	testDisks  = []farshore.DiskID{"disk-a", "disk-b"}
	testCookie = [16]byte{0xc0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	testTime   = time.Unix(1790000000, 0)
)

// smallConfig has so many frames in memory and in the file.
func smallConfig(memory, slots int, path string) Config {
	c := Config{Path: path, Cookie: testCookie, Disks: testDisks, MemoryBytes: int64(memory * smallPages * hrl.PageBytes)}
	if path != "" {
		c.MemoryBytes += fileBuffers * smallPages * hrl.PageBytes
		c.FileBytes = hrl.HeaderBytes + int64(slots*smallPages*hrl.PageBytes)
	}
	return c
}

// filePlace gives a path for a file, on a file system that can have one.
func filePlace(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "changes.hrl")
	if err := checkPlace(path); err != nil {
		t.Skipf("SKIPPED: the folder for temporary files cannot hold a change log: %v", err)
	}
	return path
}

func openSmall(t testing.TB, c Config) *Log {
	t.Helper()
	l, err := open(c, smallPages, testTime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// entry makes the write with a serial number: its bytes and boot clock follow from that.
func entry(serial uint64, disk uint16, e block.Extent, kind block.Kind) Entry {
	w := Entry{Disk: disk, Extent: e, Kind: kind, Boot: time.Duration(serial)}
	if kind != block.Data {
		return w
	}
	data := make([]byte, e.Count.Bytes())
	for at := 0; at < len(data); at += block.SectorSize {
		binary.LittleEndian.PutUint64(data[at:], serial)
		binary.LittleEndian.PutUint64(data[at+8:], uint64(at))
	}
	for len(data) > 4096 { // as bios have it, but for the last
		w.Pieces = append(w.Pieces, data[:4096])
		data = data[4096:]
	}
	w.Pieces = append(w.Pieces, data)
	return w
}

func dataEntry(serial uint64, sectors block.Count) Entry {
	return entry(serial, uint16(serial%2), block.Extent{Start: block.Sector(serial * 8), Count: sectors}, block.Data)
}

// story is the plain truth that a log is compared with: of which entry each record is a part.
type story struct {
	first   uint64 // number of records[0]
	records []Entry
}

// next is the number of the record behind all.
func (s *story) next() uint64 { return s.first + uint64(len(s.records)) }

// add takes an entry that became so many records.
func (s *story) add(e Entry, records int) {
	for range records {
		s.records = append(s.records, e)
	}
}

// check compares what a Read gave with what was appended: records come back exactly, in order, without gaps.
func (s *story) check(from uint64, records []read) error {
	for i, r := range records {
		number := from + uint64(i)
		if number < s.first || number >= s.next() {
			return fmt.Errorf("record %d is outside of %d to %d", number, s.first, s.next())
		}
		e := s.records[number-s.first]
		begin := number == s.first || number > s.first && s.records[number-s.first-1].Boot != e.Boot
		offset := block.Count(r.Extent.Start - e.Extent.Start)
		if r.Disk != e.Disk || r.Kind != e.Kind || r.Extent.Start < e.Extent.Start || r.Extent.End() > e.Extent.End() || begin && offset != 0 && number != s.first {
			return fmt.Errorf("record %d is %v of disk %d, a part of %v of disk %d is wanted", number, r.Extent, r.Disk, e.Extent, e.Disk)
		}
		if i > 0 && !begin && r.Extent.Start != records[i-1].Extent.End() {
			return fmt.Errorf("record %d begins at %d, the part before it ended at %d", number, r.Extent.Start, records[i-1].Extent.End())
		}
		want := bytes.Join(e.Pieces, nil)
		if e.Kind == block.Data && !bytes.Equal(r.Data, want[offset.Bytes():][:r.Extent.Count.Bytes()]) {
			return fmt.Errorf("record %d of %v has other bytes than were appended", number, r.Extent)
		}
	}
	return nil
}

func mustFault(t *testing.T, err error, code string) *fault.Fault {
	t.Helper()
	f, ok := fault.As(err)
	if !ok || f.Code != code || f.Remedy == "" {
		t.Fatalf("%v, want a fault %s with a remedy", err, code)
	}
	return f
}

func appendAll(t testing.TB, l *Log, entries ...Entry) {
	t.Helper()
	for _, e := range entries {
		if err := l.Append(e); err != nil {
			t.Fatalf("append %v: %v", e.Extent, err)
		}
	}
}

// fillUp appends writes of 4 KiB until the log is full, and gives how many it took.
func fillUp(t testing.TB, l *Log) (taken int) {
	t.Helper()
	for {
		err := l.Append(dataEntry(uint64(taken+1), 8))
		if errors.Is(err, ErrFull) {
			return taken
		}
		if err != nil {
			t.Fatal(err)
		}
		taken++
	}
}

func inspectFile(t testing.TB, path string) *Report {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	state, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(f, state.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}
