package formats

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

func count(n byte) (b [32]byte) {
	for i := range b {
		b[i] = n + byte(i)
	}
	return b
}

func goldenHeader() segment.Header {
	return segment.Header{
		Vault:   segment.VaultID{0x0f, 0xa5, 1, 2, 3, 4, 0x45, 6, 0x87, 8, 9, 10, 11, 12, 13, 14},
		Machine: "web-01", Generation: 1, Epoch: 2, Seq: 3, Previous: segment.Hash(count(100)), FirstLSN: 41, LastLSN: 43,
		BootFirst: 1234567890 * time.Nanosecond, BootLast: 2234567890 * time.Nanosecond,
		UTC: time.Date(2026, 11, 23, 19, 40, 0, 123456789, time.UTC), Marker: true,
		Consistency: farshore.AppConsistent, Label: "before the upgrade",
		Disks: []segment.Disk{
			{ID: "S3EVNX0K100", Sectors: 1 << 21, Clean: true},
			{ID: "nvme.2_eui", Sectors: 2048, Joining: true},
		},
	}
}

// goldenRecords holds every kind of extent and both codecs.
func goldenRecords() []segment.Record {
	noise := make([]byte, 70<<10) // more than a frame; a plain generator, so that it is the same for ever
	state := uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	return []segment.Record{
		{Disk: 0, Extent: block.Extent{Start: 0, Count: 8}, Data: bytes.Repeat([]byte("farshore"), 512)},
		{Disk: 0, Extent: block.Extent{Start: 2048, Count: 140}, Data: noise},
		{Disk: 0, Extent: block.Extent{Start: 9000, Count: 1 << 20}, Kind: block.Zero},
		{Disk: 1, Extent: block.Extent{Start: 7, Count: 1}, Data: bytes.Repeat([]byte{0xee}, 512)},
		{Disk: 1, Extent: block.Extent{Start: 2000, Count: 48}, Kind: block.Unspecified},
	}
}

func TestSegmentV1IsReadAndWrittenAsItWas(t *testing.T) {
	var b segment.Builder
	for _, r := range goldenRecords() {
		b.Add(r)
	}
	sealed, hash, err := b.Seal(goldenHeader(), segment.DataKey(count(1)), count(50))
	if err != nil {
		t.Fatal(err)
	}
	file := golden(t, "segment-v1.fsj", sealed)
	s, err := segment.Open(file, segment.DataKey(count(1)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(goldenHeader(), s.Header()); d != "" || s.Hash() != hash {
		t.Errorf("hash %v, want %v; header (-want +got):\n%s", s.Hash(), hash, d)
	}
	image := map[uint16][]byte{0: make([]byte, 2188*512), 1: make([]byte, 2048*512)}
	want := map[uint16][]byte{0: make([]byte, 2188*512), 1: make([]byte, 2048*512)}
	for r, err := range s.Records() {
		if err != nil {
			t.Fatal(err)
		}
		copy(image[r.Disk][min(r.Extent.Start.Offset(), int64(len(image[r.Disk]))):], r.Data)
	}
	for _, r := range goldenRecords() {
		copy(want[r.Disk][min(r.Extent.Start.Offset(), int64(len(want[r.Disk]))):], r.Data)
	}
	if !cmp.Equal(image, want) {
		t.Error("the content differs")
	}
}

func TestSealV1IsReadAndWrittenAsItWas(t *testing.T) {
	h := goldenHeader()
	h.Seal, h.Marker, h.Consistency, h.Label = true, false, "", ""
	h.FirstLSN = h.LastLSN + 1
	sealed, hash, err := segment.SealMarker(h)
	if err != nil {
		t.Fatal(err)
	}
	s, err := segment.Parse(golden(t, "seal-v1.fsj", sealed))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h, s.Header()); d != "" || s.Hash() != hash {
		t.Errorf("hash %v, want %v; header (-want +got):\n%s", s.Hash(), hash, d)
	}
}
