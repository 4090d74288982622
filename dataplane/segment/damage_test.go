package segment

import (
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"farshore"
	"farshore/dataplane/block"
)

// goodSegment has three frames: two compressed, one of them with a zero extent.
func goodSegment(t testing.TB) []byte {
	h := testHeader()
	h.Disks[0].Sectors = 1024
	var b Builder
	b.Add(Record{Extent: block.Extent{Start: 0, Count: 300}, Data: stamped(7, 300)})
	b.Add(Record{Disk: 1, Extent: block.Extent{Start: 5, Count: 20}, Kind: block.Zero})
	sealed, _, err := b.Seal(h, testKey, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// rehash makes the trailer's hash right again, as somebody would who tampers.
func rehash(b []byte) []byte {
	n := len(b) - hashBytes
	sum := sha256.Sum256(b[:n])
	return append(b[:n:n], sum[:]...)
}

// reheader makes both checksums right again.
func reheader(b []byte) []byte {
	n := int(b[12]) | int(b[13])<<8
	sum := crc32.Checksum(b[:n-checksumBytes], castagnoli)
	for i := range checksumBytes {
		b[n-checksumBytes+i] = byte(sum >> (8 * i))
	}
	return rehash(b)
}

func TestEveryDamageIsNamedWithItsPlace(t *testing.T) {
	set := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return b }
	}
	headerEnd := func(b []byte) int { return int(b[12]) | int(b[13])<<8 }
	rows := []struct {
		name   string
		damage func(b []byte) []byte
		want   string
		is     error
	}{
		{"empty file", func([]byte) []byte { return nil }, "header at byte 0: begins with ", ErrNotSegment},
		{"another file", func([]byte) []byte { return []byte("#!/bin/sh\necho") }, "begins with 23212f62696e2f73", ErrNotSegment},
		{"text transfer", func(b []byte) []byte { return append(b[:4:4], b[5:]...) }, "begins with 8946534a0a1a0a01", ErrNotSegment},
		{"cut in the header", func(b []byte) []byte { return b[:100] }, "header at byte 100: only 100 bytes are there, 160 are needed", ErrShort},
		{"cut in the names", func(b []byte) []byte { return b[:170] }, "header at byte 170: only 170 bytes are there, the header has", ErrShort},
		{"newer version", func(b []byte) []byte { b[8] = 2; return rehash(b) }, "header at byte 8: version 2, this program reads 1", ErrVersion},
		{"version bit", set(8, 2), "version 2, this program reads 1; it is damaged", nil},
		{"unknown flag", func(b []byte) []byte { b[10] |= 0x40; return reheader(b) }, "header at byte 10: unknown flags 005b", ErrVersion},
		{"header length", set(14, 1), "header at byte 12: claims a header of", nil},
		{"header bit", set(33, 9), "checksum is", nil},
		{"unknown consistency", func(b []byte) []byte { b[152] = 7; return reheader(b) }, "byte 152: unknown consistency 7", ErrVersion},
		{"reserved byte", func(b []byte) []byte { b[157] = 1; return reheader(b) }, "byte 156: reserved bytes are 00010000", ErrVersion},
		{"names too long", func(b []byte) []byte { b[154] = 255; return reheader(b) }, "byte 160: machine and label of 6 and 255 bytes do not fit", nil},
		{"too many disks", func(b []byte) []byte { b[155] = 9; return reheader(b) }, "disk 2 of 9 does not fit", nil},
		{"too few disks", func(b []byte) []byte { b[155] = 1; return reheader(b) }, "16 bytes are left over behind the disks", nil},
		{"bad machine", func(b []byte) []byte { b[160] = '/'; return reheader(b) }, "not a valid name", nil},
		{"LSN backwards", func(b []byte) []byte { b[88] = 8; return reheader(b) }, "LSN range 10 to 8", nil},
		{"zero epoch", func(b []byte) []byte { b[36] = 0; return reheader(b) }, "count from 1", nil},
		{"header only", func(b []byte) []byte { return b[:headerEnd(b)] }, "trailer at byte", ErrShort},
		{"cut in a frame", func(b []byte) []byte { return b[:len(b)-120] }, "trailer at byte", ErrShort},
		{"padded", func(b []byte) []byte { return append(b, 0) }, "trailer at byte", ErrShort},
		{"a bit in a frame", func(b []byte) []byte { b[headerEnd(b)+40] ^= 1; return b }, "names the hash", nil},
		{"a bit in the hash", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "names the hash", nil},
		{"frame forged, hash mended", func(b []byte) []byte { b[headerEnd(b)+40] ^= 1; return rehash(b) }, "frame 0 at byte 218: does not authenticate", ErrKey},
		{"header forged, sums mended", func(b []byte) []byte { b[80] = 9; return reheader(b) }, "header at byte 0: does not authenticate", ErrKey},
		{"index count", func(b []byte) []byte { b[len(b)-trailerBytes]++; return rehash(b) }, "claims an index of 4 frames", nil},
		{"index entry", func(b []byte) []byte { b[len(b)-trailerBytes-4] = 9; return rehash(b) }, "frame 2: impossible entry", nil},
		{"index lengths", func(b []byte) []byte { b[len(b)-trailerBytes-12]++; return rehash(b) }, "the index begins at", nil},
		{"codec forged", func(b []byte) []byte { b[len(b)-trailerBytes-28] = 0; return rehash(b) }, "frame 0 at byte 218: does not authenticate", ErrKey},
		{"seal flag forged", func(b []byte) []byte {
			b[10], b[80] = flagSeal, 13
			return reheader(b)
		}, "flagged as a seal, but has 3 frames", nil},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			err := readAll(r.damage(goodSegment(t)), testKey)
			var d *Damage
			if !errors.As(err, &d) || !strings.Contains(err.Error(), r.want) {
				t.Fatalf("got %v\nwant a Damage with %q", err, r.want)
			}
			if r.is != nil && !errors.Is(err, r.is) {
				t.Errorf("%v is not %v", err, r.is)
			}
		})
	}
	if err := readAll(goodSegment(t), testKey); err != nil {
		t.Errorf("the segment without damage: %v", err)
	}
	if err := readAll(goodSegment(t), DataKey{}); !errors.Is(err, ErrKey) {
		t.Errorf("with another key: %v", err)
	}
}

func readAll(sealed []byte, key DataKey) error {
	s, err := Open(sealed, key)
	if err != nil {
		return err
	}
	for _, err := range s.Records() {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestNoFlippedBitAndNoCutGoesUnnoticed(t *testing.T) {
	good := goodSegment(t)
	for at := range good {
		bad := append([]byte(nil), good...)
		bad[at] ^= 1 << (at % 8)
		if readAll(bad, testKey) == nil {
			t.Fatalf("bit %d of byte %d may flip", at%8, at)
		}
		if readAll(good[:at], testKey) == nil {
			t.Fatalf("the segment may end at byte %d", at)
		}
	}
}

func TestALockedSegmentGivesNoRecords(t *testing.T) {
	s, err := Parse(goodSegment(t))
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range s.Records() {
		if err == nil {
			t.Fatalf("got %v without the key", r)
		}
		if !errors.Is(err, ErrKey) {
			t.Errorf("err = %v", err)
		}
	}
}

func TestBodiesThatLieAreRefused(t *testing.T) {
	disks := []Disk{{ID: "a", Sectors: 100}, {ID: "b", Sectors: 100}}
	body := func(data int, extents ...stored) []byte {
		b := []byte{byte(len(extents)), 0}
		for _, s := range extents {
			b = append(b, byte(s.extent.Start), 0, 0, 0, 0, 0, 0, 0, byte(s.extent.Count), 0, 0, 0, byte(s.disk), 0, byte(s.kind), 0)
		}
		return append(b, make([]byte, data)...)
	}
	ext := func(disk uint16, kind block.Kind, start block.Sector, count block.Count) stored {
		return stored{disk: disk, kind: kind, extent: block.Extent{Start: start, Count: count}}
	}
	reserved := body(0, ext(0, block.Zero, 0, 1))
	reserved[17] = 1
	rows := []struct {
		name, want string
		body       []byte
	}{
		{"nothing", "a body of 0 bytes", nil},
		{"no extents", "0 extents", body(9)},
		{"count too high", "9 extents", []byte{9, 0, 0}},
		{"unknown disk", "on disk 2 of 2", body(0, ext(2, block.Zero, 0, 1))},
		{"unknown kind", "unknown kind 3", body(0, ext(0, 3, 0, 1))},
		{"reserved", "reserved byte 1", reserved},
		{"empty extent", "is empty", body(0, ext(0, block.Zero, 4, 0))},
		{"overlap", "lies before the end", body(0, ext(0, block.Zero, 4, 4), ext(0, block.Zero, 7, 1))},
		{"disks out of order", "lies before the end", body(0, ext(1, block.Zero, 4, 4), ext(0, block.Zero, 50, 1))},
		{"beyond the disk", "beyond the end of disk a", body(0, ext(0, block.Zero, 99, 2))},
		{"too little data", "account for", body(511, ext(0, block.Data, 0, 1))},
		{"too much data", "account for", body(513, ext(0, block.Data, 0, 1))},
	}
	for _, r := range rows {
		_, _, err := readBody(r.body, disks, bodyEnd{}, func(Record) bool { t.Errorf("%s: gave a record", r.name); return true })
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: got %v, want %q", r.name, err, r.want)
		}
	}
	_, _, err := readBody(body(0, ext(0, block.Zero, 4, 1)), disks, bodyEnd{disk: 0, sector: 5}, func(Record) bool { return true })
	if err == nil {
		t.Error("a frame may begin before the end of the one in front")
	}
}

func TestSealRefusesWhatNoReaderWouldTake(t *testing.T) {
	rows := []struct {
		name, want string
		change     func(h *Header)
	}{
		{"no machine", "not a valid name", func(h *Header) { h.Machine = "" }},
		{"no epoch", "count from 1", func(h *Header) { h.Epoch = 0 }},
		{"LSN range", "LSN range", func(h *Header) { h.LastLSN = 3 }},
		{"a seal", "holds no records", func(h *Header) { h.Seal = true }},
		{"long label", "label of 256 bytes", func(h *Header) { h.Label = strings.Repeat("x", 256) }},
		{"disk twice", "named twice", func(h *Header) { h.Disks[1].ID = h.Disks[0].ID }},
		{"consistency", "consistency \"nice\"", func(h *Header) { h.Consistency = farshore.Consistency("nice") }},
		{"record beyond the disk", "beyond the end of disk WD-1", func(h *Header) { h.Disks[0].Sectors = 2 }},
		{"record without disk", "on disk 0 of 0", func(h *Header) { h.Disks = nil }},
	}
	for _, r := range rows {
		var b Builder
		b.Add(Record{Extent: block.Extent{Start: 1, Count: 2}, Data: stamped(1, 2)})
		h := testHeader()
		r.change(&h)
		if _, _, err := b.Seal(h, testKey, testSalt); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: got %v, want %q", r.name, err, r.want)
		}
	}
	if _, _, err := SealMarker(testHeader()); err == nil {
		t.Error("SealMarker takes a header that is not a seal")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(goodSegment(f))
	seal := testHeader()
	seal.Seal, seal.Copy, seal.Jump, seal.Marker, seal.FirstLSN = true, false, false, false, 13
	sealed, _, err := SealMarker(seal)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fixedHeaderBytes+hashBytes { // let the fuzzer past the sums
			n := int(b[12]) | int(b[13])<<8
			if n > fixedHeaderBytes && n < len(b)-hashBytes {
				b = reheader(append([]byte(nil), b...))
			}
		}
		s, err := Open(b, testKey)
		if err != nil {
			var d *Damage
			if !errors.As(err, &d) || d.Offset < 0 || d.Offset > int64(len(b)) {
				t.Fatalf("%v: not a damage within %d bytes", err, len(b))
			}
			return
		}
		for _, err := range s.Records() {
			if err != nil {
				return
			}
		}
	})
}

func FuzzBody(f *testing.F) {
	disks := []Disk{{ID: "a", Sectors: 1 << 20}, {ID: "b", Sectors: 8}}
	f.Add([]byte{1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		var set block.Set
		_, _, err := readBody(body, disks, bodyEnd{}, func(r Record) bool {
			if r.Disk == 0 && set.Overlaps(r.Extent) {
				t.Fatalf("%v stands twice", r.Extent)
			}
			if r.Disk == 0 {
				set.Add(r.Extent)
			}
			return true
		})
		if err != nil && !set.Empty() {
			t.Fatal("gave records of a body that is wrong")
		}
	})
}
