package segment

import (
	"strings"
	"testing"

	"farshore/dataplane/block"
)

func TestADamagedFrameIsFoundBetweenItsNeighbours(t *testing.T) {
	h := testHeader()
	h.Disks[0].Sectors = 1024
	var b Builder
	b.Add(Record{Extent: block.Extent{Start: 100, Count: 400}, Data: stamped(7, 400)}) // four frames of at most 128 sectors
	sealed, _, err := b.Seal(h, testKey, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	key := testKey
	if hits := Locate(sealed, &key, nil); len(hits) > 0 {
		t.Errorf("a good segment is hit: %+v", hits)
	}
	s, err := Parse(sealed)
	if err != nil {
		t.Fatal(err)
	}
	sealed[s.Frames()[2].Offset+3] ^= 1
	hits := Locate(sealed, &key, nil)
	if len(hits) != 1 || !strings.HasPrefix(hits[0].Damage.Part, "frame 2 ") || hits[0].Damage.Offset != s.Frames()[2].Offset || len(hits[0].Held) != 1 {
		t.Fatalf("hits: %+v", hits)
	}
	want := Touched{Disk: h.Disks[0].ID, Extent: block.Extent{Start: 100 + 2*128, Count: 128}}
	if hits[0].Held[0] != want {
		t.Errorf("it held %+v, want %+v", hits[0].Held[0], want)
	}
	if hits := Locate(sealed, nil, nil); len(hits) != 1 || hits[0].Damage.Part != "frames" || len(hits[0].Held) != len(h.Disks) {
		t.Errorf("without a key: %+v", hits)
	}
}
