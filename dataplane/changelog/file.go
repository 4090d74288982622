package changelog

import (
	"fmt"
	"os"

	"farshore/dataplane/hrl"
	"farshore/fault"
)

// file is the circle of slots behind the memory. One goroutine writes, another reads.
type file struct {
	path   string
	handle *os.File
	header hrl.Header
	weave  []byte // a slot: what is being written
}

// write puts a frame into its slot, in one piece.
func (f *file) write(from frame) (int, error) {
	head := hrl.Frame{
		Seq: from.seq, Run: f.header.Run(), First: from.first, Records: from.records, BootFirst: from.bootFirst, BootLast: from.bootLast,
	}
	n := hrl.Weave(f.weave, f.header.Cookie, head, from.mem.bytes[:from.used])
	if _, err := f.handle.WriteAt(f.weave[:n], f.header.SlotAt(f.header.SlotOf(from.seq))); err != nil {
		return 0, fmt.Errorf("write frame %d: %w", from.seq, err)
	}
	return n, nil
}

// read gives the body of a frame, which lies in the memory of slot.
func (f *file) read(slot []byte, want frame) ([]byte, error) {
	number := f.header.SlotOf(want.seq)
	slot = slot[:hrl.Pages(want.used)*hrl.PageBytes]
	if _, err := f.handle.ReadAt(slot, f.header.SlotAt(number)); err != nil {
		return nil, fmt.Errorf("read frame %d: %w", want.seq, err)
	}
	got, body, err := hrl.Unweave(slot, f.header, number)
	if err != nil {
		return nil, err
	}
	if got.Seq != want.seq || got.Run != f.header.Run() || got.First != want.first || got.Records != want.records || len(body) != want.used {
		return nil, fmt.Errorf("slot %d holds frame %d with the records %d to %d, not what was written to it", number, got.Seq, got.First, got.Last())
	}
	return body, nil
}

func (f *file) close() error {
	if err := f.handle.Close(); err != nil {
		return fmt.Errorf("close the change log %s: %w", f.path, err)
	}
	return nil
}

// badPlace is the fault of a file that the change log cannot have there.
func badPlace(path, what string, err error) *fault.Fault {
	return &fault.Fault{
		Code: "FS-1017", Kind: fault.Operator, Subject: "change log " + path, What: what, Err: err,
		Remedy: "choose another place (hrl.path in the agent's configuration): ext4, xfs or btrfs with blocks of 4 KiB, on a plain disk, LVM, RAID 0, 1 or 10; or none, and the log is kept in memory only",
	}
}
