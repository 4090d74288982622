package changelog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/hrl"
	"farshore/fault"
)

// The states of a slot.
const (
	SlotFrame   = "frame"   // every byte is right
	SlotEmpty   = "empty"   // never written
	SlotOld     = "old"     // right, but of an earlier run
	SlotTorn    = "torn"    // begun, not written to its end
	SlotDamaged = "damaged" // not what was written
)

// Report is what the file of a change log holds, as a person may read it.
type Report struct {
	Version  int               `json:"version"`
	Cookie   string            `json:"cookie"`
	Opened   time.Time         `json:"opened"`
	Slots    int               `json:"slots"`
	SlotSize int               `json:"slotBytes"`
	Bytes    int64             `json:"bytes"`
	Disks    []farshore.DiskID `json:"disks"`
	Frames   []FrameReport     `json:"frames"` // of this run by number, then of earlier runs, then what cannot be read
	Empty    int               `json:"empty"`  // slots never written
	Damages  []string          `json:"damages"`
	State    string            `json:"state"` // the whole in a sentence
	header   hrl.Header
}

// FrameReport is one slot that was written.
type FrameReport struct {
	Slot        int           `json:"slot"`
	Offset      int64         `json:"offset"`
	State       string        `json:"state"`
	Frame       uint64        `json:"frame,omitempty"`
	First       uint64        `json:"firstRecord,omitempty"`
	Last        uint64        `json:"lastRecord,omitempty"`
	BootFirst   time.Duration `json:"bootFirstNanos,omitempty"`
	BootLast    time.Duration `json:"bootLastNanos,omitempty"`
	Writes      int           `json:"writes,omitempty"` // that end in this frame
	Data        int           `json:"data,omitempty"`   // records of the kind
	Zero        int           `json:"zero,omitempty"`
	Unspecified int           `json:"unspecified,omitempty"`
	DataBytes   int64         `json:"dataBytes,omitempty"`
	Disks       []int         `json:"disks,omitempty"` // places in the list of disks
	What        string        `json:"what,omitempty"`  // is wrong
}

// InspectFile reads the file of a change log. The error is a *fault.Fault FS-1019 if it is none, or if its header is
// damaged.
func InspectFile(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the change log: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read the change log %s: %w", path, err)
	}
	r, err := Inspect(f, size)
	if errors.Is(err, hrl.ErrNotChangeLog) {
		return nil, &fault.Fault{
			Code: "FS-1019", Kind: fault.Refused, Subject: path, What: "it is not the file of a change log", Err: err,
			Remedy: "name a .hrl file: hrl.path in the agent's configuration",
		}
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	return r, nil
}

func damaged(path string, err error) *fault.Fault {
	return &fault.Fault{
		Code: "FS-1019", Kind: fault.Corrupt, Subject: "change log " + path, What: "not all of it can be read", Err: err,
		Remedy: "replication does not depend on it: a new run of the agent starts with an empty log. Look at the disk that holds the file",
	}
}

// Fault gives the first damage of the report on a file, or nil.
func (r *Report) Fault(path string) error {
	if len(r.Damages) == 0 {
		return nil
	}
	return damaged(path, errors.New(r.Damages[0]))
}

// Inspect reads a whole file of the given size. Damage is reported, not returned: the error is a *[hrl.Damage] only if
// the header cannot be read, and anything else if the source cannot.
func Inspect(from io.ReaderAt, size int64) (*Report, error) {
	head, err := readSome(from, 0, hrl.HeaderBytes)
	if err != nil {
		return nil, err
	}
	h, err := hrl.ParseHeader(head)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Version: hrl.Version, Cookie: fmt.Sprintf("%x", h.Cookie[:]), Opened: h.Opened, Slots: h.Slots, SlotSize: h.SlotBytes(), Bytes: size,
		Disks: h.Disks, Frames: []FrameReport{}, Damages: []string{}, header: h,
	}
	if want := h.FileBytes(); size != want {
		r.Damages = append(r.Damages, fmt.Sprintf("the file has %d bytes, its header says %d", size, want))
	}
	for slot := range h.Slots {
		if h.SlotAt(slot) >= size {
			break
		}
		bytes, err := readSome(from, h.SlotAt(slot), h.SlotBytes())
		if err != nil {
			return nil, err
		}
		r.slot(slot, bytes)
	}
	r.conclude()
	return r, nil
}

// readSome reads as much of n bytes as there is.
func readSome(from io.ReaderAt, at int64, n int) ([]byte, error) {
	bytes := make([]byte, n)
	got, err := from.ReadAt(bytes, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, at, err)
	}
	return bytes[:got], nil
}

// slot adds what one slot holds.
func (r *Report) slot(slot int, bytes []byte) {
	f := FrameReport{Slot: slot, Offset: r.header.SlotAt(slot), State: SlotFrame}
	behind := bytes
	head, body, err := hrl.Unweave(slices.Clone(bytes), r.header, slot)
	if err == nil {
		err = hrl.CheckBody(head, body, r.header, f.count)
	}
	if head.Records > 0 {
		f.Frame, f.First, f.Last, f.BootFirst, f.BootLast = head.Seq, head.First, head.Last(), head.BootFirst, head.BootLast
	}
	pages := hrl.Pages(len(body))
	switch {
	case errors.Is(err, hrl.ErrEmpty):
		f.State, pages = SlotEmpty, 1
	case errors.Is(err, hrl.ErrTorn), err != nil && errors.Is(err, hrl.ErrShort) && head.Records > 0:
		f.State, f.What = SlotTorn, err.Error()
	case err != nil:
		f.State, f.What = SlotDamaged, err.Error()
	case head.Run != r.header.Run():
		f.State = SlotOld
	}
	if f.What != "" {
		r.Damages = append(r.Damages, f.What)
	} else if err := hrl.Behind(behind, r.header, slot, pages); err != nil {
		r.Damages = append(r.Damages, err.Error())
	}
	if f.State == SlotEmpty {
		r.Empty++
		return
	}
	r.Frames = append(r.Frames, f)
}

// count takes a record into the sums.
func (f *FrameReport) count(r hrl.Record) {
	switch r.Kind {
	case block.Data:
		f.Data++
	case block.Zero:
		f.Zero++
	case block.Unspecified:
		f.Unspecified++
	}
	f.DataBytes += int64(len(r.Data))
	if r.Last {
		f.Writes++
	}
	if at, found := slices.BinarySearch(f.Disks, int(r.Disk)); !found {
		f.Disks = slices.Insert(f.Disks, at, int(r.Disk))
	}
}

// order of states in a report.
var order = map[string]int{SlotFrame: 0, SlotTorn: 0, SlotOld: 1, SlotDamaged: 2}

// conclude sorts the frames and says what is missing between them.
func (r *Report) conclude() {
	slices.SortStableFunc(r.Frames, func(a, b FrameReport) int {
		return cmp.Or(cmp.Compare(order[a.State], order[b.State]), cmp.Compare(a.Frame, b.Frame))
	})
	var last *FrameReport
	good := 0
	for i := range r.Frames {
		f := &r.Frames[i]
		if f.State != SlotFrame {
			continue
		}
		good++
		if last != nil && f.Frame != last.Frame+1 {
			r.Damages = append(r.Damages, fmt.Sprintf("frames %d to %d are missing between slot %d and slot %d", last.Frame+1, f.Frame-1, last.Slot, f.Slot))
		}
		last = f
	}
	switch {
	case len(r.Damages) > 0:
		r.State = fmt.Sprintf("%d frames of the newest run are right; DAMAGE in %d places", good, len(r.Damages))
	case good == 0:
		r.State = "no frame of the newest run; every page is right"
	default:
		r.State = fmt.Sprintf("%d frames of the newest run; every page is right", good)
	}
}

// Replay gives, in order, the records of the newest unbroken row of frames of the newest run, each with its number.
func (r *Report) Replay(from io.ReaderAt, take func(number uint64, record hrl.Record) error) error {
	row := r.row()
	for _, f := range row {
		bytes, err := readSome(from, f.Offset, r.SlotSize)
		if err != nil {
			return err
		}
		_, body, err := hrl.Unweave(bytes, r.header, f.Slot)
		if err != nil {
			return err
		}
		number := f.First
		for at := 0; at < len(body); number++ {
			var record hrl.Record
			if record, at, err = hrl.Next(body, at); err != nil {
				return err
			}
			if err := take(number, record); err != nil {
				return err
			}
		}
	}
	return nil
}

// row is the newest unbroken row of frames.
func (r *Report) row() []FrameReport {
	var row []FrameReport
	for _, f := range r.Frames {
		if f.State != SlotFrame {
			continue
		}
		if n := len(row); n > 0 && row[n-1].Frame+1 != f.Frame {
			row = row[:0]
		}
		row = append(row, f)
	}
	return row
}
