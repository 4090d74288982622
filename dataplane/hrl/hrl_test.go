package hrl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

func someHeader() Header {
	return Header{
		Cookie: Cookie{0xf0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Opened: time.Unix(1790000000, 42).UTC(),
		FramePages: MinFramePages, Slots: 3, Disks: []farshore.DiskID{"S3EVNX0K100", "nvme.2_eui"},
	}
}

// someBody holds the records, as Weave wants them.
func someBody(records ...Record) []byte {
	var body []byte
	for _, r := range records {
		body = append(AppendHead(body, r), r.Data...)
	}
	return body
}

func record(disk uint16, start block.Sector, count block.Count, kind block.Kind) Record {
	r := Record{Boot: time.Duration(start), Last: true}
	r.Disk, r.Extent, r.Kind = disk, block.Extent{Start: start, Count: count}, kind
	if kind == block.Data {
		r.Data = bytes.Repeat([]byte{byte(start)}, int(count.Bytes()))
	}
	return r
}

func someFrame(t testing.TB) (slot []byte, used int, f Frame, body []byte) {
	t.Helper()
	h := someHeader()
	body = someBody(record(0, 8, 8, block.Data), record(1, 77, 1, block.Zero), record(1, 3, 15, block.Data), record(0, 0, 1<<31, block.Unspecified))
	f = Frame{Seq: 5, Run: h.Run(), First: 100, Records: 4, BootFirst: 8, BootLast: 9}
	slot = make([]byte, h.SlotBytes())
	Blank(slot, h.Cookie)
	used = Weave(slot, h.Cookie, f, body)
	return slot, used, f, body
}

func TestAHeaderComesBackAsItWasWritten(t *testing.T) {
	want := someHeader()
	for i := range MaxDisks - 2 { // so many that they need several pages
		want.Disks = append(want.Disks, farshore.DiskID(fmt.Sprintf("%064d", i)))
	}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := (Header{}).Encode(); err == nil {
		t.Error("an impossible header was written")
	}
}

func TestAFrameComesBackAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := someHeader()
		h.FramePages = rapid.IntRange(MinFramePages, 20).Draw(t, "pages")
		var body []byte
		var want []Record
		for range rapid.IntRange(1, 20).Draw(t, "records") {
			kind := block.Kind(rapid.IntRange(0, block.Kinds-1).Draw(t, "kind"))
			r := record(uint16(rapid.IntRange(0, 1).Draw(t, "disk")), block.Sector(rapid.Uint64Range(0, 1<<40).Draw(t, "start")),
				block.Count(rapid.IntRange(1, 16).Draw(t, "count")), kind)
			r.Last = rapid.Bool().Draw(t, "last")
			if next := append(AppendHead(body, r), r.Data...); len(next) <= BodyBytes(h.FramePages) {
				body, want = next, append(want, r)
			}
		}
		f := Frame{Seq: rapid.Uint64Min(1).Draw(t, "seq"), Run: h.Run(), First: 7, Records: len(want), BootFirst: 1, BootLast: 2}
		slot := make([]byte, h.SlotBytes())
		Blank(slot, h.Cookie)
		used := Weave(slot, h.Cookie, f, body)
		if used != Pages(len(body))*PageBytes {
			t.Fatalf("%d bytes used, want %d pages", used, Pages(len(body)))
		}
		for at := 0; at < len(slot); at += PageBytes {
			if Cookie(slot[at:at+16]) != h.Cookie {
				t.Fatalf("the page at %d does not begin with the cookie", at)
			}
		}
		got, back, err := Unweave(slot, h, h.SlotOf(f.Seq))
		if err != nil || got != f || !bytes.Equal(back, body) {
			t.Fatalf("frame %+v, want %+v, bodies equal %v: %v", got, f, bytes.Equal(back, body), err)
		}
		var records []Record
		if err := CheckBody(got, back, h, func(r Record) { records = append(records, r) }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(want, records) {
			t.Fatalf("records %v, want %v", records, want)
		}
	})
}

func TestEveryFlippedBitIsFoundInItsPage(t *testing.T) {
	slot, used, _, _ := someFrame(t)
	h := someHeader()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		at, bit := random.IntN(used), random.IntN(8)
		b := bytes.Clone(slot)
		b[at] ^= 1 << bit
		_, body, err := Unweave(b, h, 1)
		var d *Damage
		if !errors.As(err, &d) || body != nil {
			t.Fatalf("bit %d of byte %d flipped: %v", bit, at, err)
		}
		if page := h.SlotAt(1) + int64(at/PageBytes*PageBytes); d.Offset < page || d.Offset >= page+PageBytes {
			t.Fatalf("bit %d of byte %d flipped: found at byte %d, want one of the page at %d: %v", bit, at, d.Offset, page, d)
		}
	}
}

func TestAReaderTellsEmptyTornCutAndForeign(t *testing.T) {
	h := someHeader()
	slot, used, f, _ := someFrame(t)
	older := f
	older.Run--
	torn := bytes.Clone(slot)
	Weave(torn, h.Cookie, older, someBody(record(0, 8, 40, block.Data), record(1, 8, 1, block.Zero)))
	copy(torn, slot[:PageBytes]) // only the first page of the newer frame was written
	foreign := bytes.Clone(slot)
	foreign[PageBytes] ^= 1
	blank := make([]byte, h.SlotBytes())
	Blank(blank, h.Cookie)
	misplaced := bytes.Clone(slot)
	for _, tt := range []struct {
		name string
		slot []byte
		in   int
		want error
		at   int64
	}{
		{"empty", blank, 1, ErrEmpty, 0},
		{"torn", torn, 1, ErrTorn, PageBytes},
		{"cut in a page", slot[:used-1], 1, ErrShort, int64(used - 1)},
		{"cut between pages", slot[:PageBytes], 1, ErrShort, PageBytes},
		{"nothing", nil, 1, ErrShort, 0},
		{"another cookie", foreign, 1, nil, PageBytes},
		{"in another slot", misplaced, 2, nil, pageHeadBytes + 8},
	} {
		_, _, err := Unweave(bytes.Clone(tt.slot), h, tt.in)
		var d *Damage
		if !errors.As(err, &d) || tt.want != nil && !errors.Is(err, tt.want) || d.Offset != h.SlotAt(tt.in)+tt.at {
			t.Errorf("%s: %v, want %v at byte %d", tt.name, err, tt.want, h.SlotAt(tt.in)+tt.at)
		}
	}
}

// woven puts content into pages, as it stands in a file: what the fuzzers vary is small, and the pages around it are right.
func woven(content []byte, pages int, tag uint32) []byte {
	b := make([]byte, pages*PageBytes)
	Blank(b, someHeader().Cookie)
	w := weaver{dst: b, cookie: someHeader().Cookie, tag: tag}
	w.put(content[:min(len(content), pages*contentBytes)])
	w.end()
	return b
}

// mend sets the checksum over what is in front of it, so that the fuzzer reaches what lies behind.
func mend(content []byte, end int) {
	if end >= 0 && end+checksumBytes <= len(content) {
		binary.LittleEndian.PutUint32(content[end:], crc32.Checksum(content[:end], castagnoli))
	}
}

func FuzzHeader(f *testing.F) {
	good, err := someHeader().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[pageHeadBytes:pageHeadBytes+60], 40)
	f.Fuzz(func(t *testing.T, content []byte, end int) {
		content = bytes.Clone(content)
		mend(content, end)
		h, err := ParseHeader(woven(content, HeaderPages, 0))
		if err != nil {
			var d *Damage
			if !errors.As(err, &d) || d.Offset < 0 || d.Offset > HeaderBytes {
				t.Fatalf("%v is no damage in the header", err)
			}
			return
		}
		again, err := h.Encode()
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", h, err)
		}
		if back, err := ParseHeader(again); err != nil || !cmp.Equal(back, h) {
			t.Fatalf("%+v came back as %+v: %v", h, back, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(append([]byte(frameMagic), make([]byte, 60)...), 60, 1, PageBytes)
	f.Fuzz(func(t *testing.T, content []byte, end, flip, cut int) {
		h := someHeader()
		content = bytes.Clone(content)
		mend(content, end)
		var tag uint32
		if len(content) >= 24 {
			tag = Frame{Seq: binary.LittleEndian.Uint64(content[8:]), Run: binary.LittleEndian.Uint64(content[16:])}.tag()
		}
		b := woven(content, h.FramePages, tag)
		if flip >= 0 && flip < len(b) {
			b[flip] ^= 0x10
		}
		b = b[:min(max(cut, 0), len(b))]
		frame, body, err := Unweave(b, h, 1)
		var d *Damage
		if err != nil && (!errors.As(err, &d) || body != nil || d.Offset < h.SlotAt(1) || d.Offset > h.SlotAt(2)) {
			t.Fatalf("%v is no damage in the slot, or a body came with it", err)
		}
		if err == nil && (frame.Records < 1 || len(body) < frame.Records*RecordHeadBytes) {
			t.Fatalf("frame %+v with a body of %d bytes was believed", frame, len(body))
		}
	})
}

func FuzzBody(f *testing.F) {
	_, _, _, body := someFrame(f)
	f.Add(body, 4)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, body []byte, records int) {
		var again []byte
		err := CheckBody(Frame{Seq: 1, Records: records}, body, someHeader(), func(r Record) {
			if r.Kind == block.Data && int64(len(r.Data)) != r.Extent.Count.Bytes() || r.Extent.End() > segment.MaxDiskSectors {
				t.Fatalf("record %+v was believed", r)
			}
			again = append(AppendHead(again, r), r.Data...)
		})
		if err == nil && !bytes.Equal(again, body) {
			t.Fatal("what was read is written otherwise")
		}
	})
}
