package formats

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/changelog"
	"farshore/dataplane/hrl"
)

func goldenChangeLog() hrl.Header {
	cookie := count(200)
	return hrl.Header{
		Cookie: hrl.Cookie(cookie[:16]), Opened: time.Date(2026, 11, 26, 15, 0, 0, 123456789, time.UTC),
		FramePages: hrl.MinFramePages, Slots: 2, Disks: []farshore.DiskID{"S3EVNX0K100", "nvme.2_eui"},
	}
}

// goldenChanges are frame 2, which holds every kind of record, and frame 3, which begins with the rest of a write. Frame 1
// was written over by frame 3.
func goldenChanges() map[uint64][]hrl.Record {
	at := func(disk uint16, start block.Sector, n block.Count, kind block.Kind, last bool) hrl.Record {
		r := hrl.Record{Boot: 1234567890 * time.Nanosecond, Last: last}
		r.Disk, r.Kind, r.Extent = disk, kind, block.Extent{Start: start, Count: n}
		if kind == block.Data {
			r.Data = bytes.Repeat([]byte("farshore"), int(n.Bytes()/8))
		}
		return r
	}
	return map[uint64][]hrl.Record{
		2: {
			at(0, 2048, 8, block.Data, true), at(1, 7, 1, block.Zero, true), at(0, 1<<32, 1<<20, block.Unspecified, true), at(1, 64, 32, block.Data, false),
		},
		3: {at(1, 96, 9, block.Data, true)},
	}
}

func TestChangeLogV1IsReadAndWrittenAsItWas(t *testing.T) {
	h := goldenChangeLog()
	file, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	slots := make([]byte, h.Slots*h.SlotBytes())
	hrl.Blank(slots, h.Cookie)
	first := uint64(41)
	for _, seq := range []uint64{2, 3} {
		var body []byte
		records := goldenChanges()[seq]
		for _, r := range records {
			body = append(hrl.AppendHead(body, r), r.Data...)
		}
		f := hrl.Frame{Seq: seq, Run: h.Run(), First: first, Records: len(records), BootFirst: records[0].Boot, BootLast: records[0].Boot + 1}
		hrl.Weave(slots[h.SlotOf(seq)*h.SlotBytes():][:h.SlotBytes()], h.Cookie, f, body)
		first += uint64(len(records))
	}
	content := golden(t, "changelog-v1.hrl", append(file, slots...))
	report, err := changelog.Inspect(bytes.NewReader(content), int64(len(content)))
	if err != nil || len(report.Damages) > 0 {
		t.Fatalf("%v; damages %v", err, report)
	}
	back, err := hrl.ParseHeader(content)
	if d := cmp.Diff(h, back); err != nil || d != "" {
		t.Errorf("%v; header (-want +got):\n%s", err, d)
	}
	want := append(goldenChanges()[2], goldenChanges()[3]...)
	var got []hrl.Record
	err = report.Replay(bytes.NewReader(content), func(number uint64, r hrl.Record) error {
		if number != uint64(41+len(got)) {
			t.Errorf("record %d is numbered %d", len(got), number)
		}
		got = append(got, r)
		return nil
	})
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v; records (-want +got):\n%s", err, d)
	}
}
