package segment

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"farshore"
	"farshore/dataplane/block"
)

const modelSectors = 300

// cell is what a model knows of one sector.
type cell struct {
	written bool
	kind    block.Kind
	stamp   byte
}

type model [2][modelSectors]cell

func (m *model) add(r Record, stamp byte) {
	for s := r.Extent.Start; s < r.Extent.End(); s++ {
		c := cell{written: true, kind: r.Kind}
		if r.Kind == block.Data {
			c.stamp = stamp
		}
		m[r.Disk][s] = c
	}
}

func (m *model) bytes() (n int64) {
	for d := range m {
		for _, c := range m[d] {
			if c.written && c.kind == block.Data {
				n += block.SectorSize
			}
		}
	}
	return n
}

// stamped makes data that says in every byte which write it came from, and now and then does not compress.
func stamped(stamp byte, n block.Count) []byte {
	return bytes.Repeat([]byte{stamp}, int(n.Bytes()))
}

func testHeader() Header {
	return Header{
		Vault: VaultID{0xfa, 15: 1}, Machine: "web-01", Generation: 1, Epoch: 2, Seq: 3, Previous: Hash{9, 8, 7},
		FirstLSN: 10, LastLSN: 12, BootFirst: time.Minute, BootLast: time.Hour, UTC: time.Unix(1_800_000_000, 5).UTC(),
		Suspect: true, Copy: true, Jump: true, Marker: true, Consistency: farshore.AppConsistent, Label: "before the upgrade",
		Disks: []Disk{
			{ID: "WD-1", Sectors: modelSectors, Clean: true},
			{ID: "sn.2_X", Sectors: modelSectors, Clean: true, Joining: true},
		},
	}
}

var (
	testKey  = DataKey{1, 2, 3}
	testSalt = [32]byte{4, 5, 6}
)

func TestASegmentHoldsTheLastWriteToEverySector(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Builder
		var want model
		for round := range rapid.IntRange(1, 2).Draw(t, "uses of the builder") {
			b.Reset()
			want = model{}
			steps := rapid.IntRange(0, 120).Draw(t, "records")
			widest := rapid.SampledFrom([]int{1, 4, 40, modelSectors}).Draw(t, "widest")
			for i := range steps {
				start := rapid.IntRange(0, modelSectors-1).Draw(t, "start")
				count := block.Count(rapid.IntRange(0, min(widest, modelSectors-start)).Draw(t, "count"))
				r := Record{
					Disk:   uint16(rapid.IntRange(0, 1).Draw(t, "disk")),
					Extent: block.Extent{Start: block.Sector(start), Count: count},
					Kind:   block.Kind(rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "kind")),
				}
				stamp := byte(100*round + i)
				if r.Kind == block.Data {
					r.Data = stamped(stamp, count)
				}
				b.Add(r)
				want.add(r, stamp)
			}
		}
		if got := b.Bytes() - int64(b.list.count)*extentBytes; got != want.bytes() {
			t.Fatalf("the builder counts %d bytes of data, want %d", got, want.bytes())
		}
		sealed, hash, err := b.Seal(testHeader(), testKey, testSalt)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, sealed, hash, &want)
	})
}

func compare(t *rapid.T, sealed []byte, hash Hash, want *model) {
	s, err := Open(sealed, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if s.Hash() != hash {
		t.Fatalf("hash = %v, want %v", s.Hash(), hash)
	}
	if d := cmp.Diff(testHeader(), s.Header()); d != "" {
		t.Fatalf("header (-want +got):\n%s", d)
	}
	var got model
	for r, err := range s.Records() {
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.Extent.Count {
			c := &got[r.Disk][r.Extent.Start+block.Sector(i)]
			if c.written {
				t.Fatalf("sector %d of disk %d stands twice", r.Extent.Start+block.Sector(i), r.Disk)
			}
			*c = cell{written: true, kind: r.Kind}
			if r.Kind == block.Data {
				c.stamp = r.Data[i.Bytes()]
			}
		}
	}
	if d := cmp.Diff(*want, got, cmp.AllowUnexported(cell{})); d != "" {
		t.Fatalf("content (-want +got):\n%s", d)
	}
}

func TestThousandsOfScatteredBlocksSurviveChunkSplits(t *testing.T) {
	const blocks, rounds = 4096, 3
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	h := testHeader()
	h.Disks = []Disk{{ID: "d", Sectors: blocks * 8, Clean: true}}
	var b Builder
	want := make([]byte, blocks)
	for range rounds {
		for _, i := range rnd.Perm(blocks) {
			stamp := byte(rnd.Uint32())
			want[i] = stamp
			b.Add(Record{Extent: block.Extent{Start: block.Sector(i) * 8, Count: 8}, Data: stamped(stamp, 8)})
		}
		// A wide zero over a third, so that whole chunks go and come back.
		start := rnd.IntN(blocks * 2 / 3)
		b.Add(Record{Extent: block.Extent{Start: block.Sector(start) * 8, Count: blocks / 3 * 8}, Kind: block.Zero})
		for i := range blocks / 3 {
			want[start+i] = 0
		}
	}
	sealed, _, err := b.Seal(h, testKey, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(sealed, testKey)
	if err != nil {
		t.Fatal(err)
	}
	got := bytes.Repeat([]byte{1}, blocks*8*block.SectorSize)
	for r, err := range s.Records() {
		if err != nil {
			t.Fatal(err)
		}
		place := got[r.Extent.Start.Offset():r.Extent.End().Offset()]
		clear(place)
		copy(place, r.Data)
	}
	for i, stamp := range want {
		if !bytes.Equal(got[i*4096:(i+1)*4096], stamped(stamp, 8)) {
			t.Fatalf("block %d does not hold its last write (seed %d)", i, seed)
		}
	}
}

func TestRewritingOnePlaceHoldsNoMemory(t *testing.T) {
	var b Builder
	for i := range 20_000 {
		start := block.Sector(i % 7) // overlapping, never quite the same
		b.Add(Record{Extent: block.Extent{Start: start, Count: 8}, Data: stamped(byte(i), 8)})
	}
	if limit := 2*int(b.Bytes()) + compactSlack + 4096; len(b.arena) > limit {
		t.Errorf("the arena holds %d bytes for %d alive, want at most %d", len(b.arena), b.Bytes(), limit)
	}
}

// A piece of zeros whose front was written over has no place in the memory of the data.
func TestTheRestOfAZeroCanBeZeroedAgain(t *testing.T) {
	for _, kind := range []block.Kind{block.Zero, block.Unspecified} {
		var b Builder
		for _, e := range []block.Extent{{Start: 0, Count: 1000}, {Start: 0, Count: 500}, {Start: 500, Count: 500}} {
			b.Add(Record{Extent: e, Kind: kind})
		}
		if b.list.count != 2 {
			t.Errorf("%v: %d pieces, want 2", kind, b.list.count)
		}
	}
}

func TestEqualRecordsGiveEqualBytesWhateverTheirOrder(t *testing.T) {
	var one, two Builder
	for i := range 40 {
		one.Add(Record{Extent: block.Extent{Start: block.Sector(i), Count: 1}, Data: stamped(byte(i), 1)})
		two.Add(Record{Extent: block.Extent{Start: block.Sector(39 - i), Count: 1}, Data: stamped(byte(39-i), 1)})
	}
	a, _, err := one.Seal(testHeader(), testKey, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := two.Seal(testHeader(), testKey, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("the same content sealed differently")
	}
	s, err := Open(a, testKey)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range s.Records() {
		n++
	}
	if n != 1 {
		t.Errorf("40 touching sectors are stored as %d extents, want 1", n)
	}
}

func TestBytesThatDoNotCompressAreStoredRaw(t *testing.T) {
	noise := make([]byte, FrameDataBytes)
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	h := testHeader()
	h.Disks[0].Sectors = 1024
	var b Builder
	b.Add(Record{Extent: block.Extent{Start: 0, Count: 128}, Data: noise})
	b.Add(Record{Extent: block.Extent{Start: 128, Count: 128}, Data: make([]byte, FrameDataBytes)})
	sealed, _, err := b.Seal(h, testKey, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(sealed, testKey)
	if err != nil {
		t.Fatal(err)
	}
	var codecs []Codec
	for _, f := range s.Frames() {
		codecs = append(codecs, f.Codec)
	}
	if want := []Codec{Raw, LZ4}; !cmp.Equal(codecs, want) {
		t.Errorf("codecs = %v, want %v", codecs, want)
	}
	for r, err := range s.Records() {
		if err != nil {
			t.Fatal(err)
		}
		if r.Extent.Start == 0 && !bytes.Equal(r.Data, noise) {
			t.Error("raw data came back different")
		}
	}
}

func TestAVastZeroIsStoredInPieces(t *testing.T) {
	h := testHeader()
	h.Disks[0].Sectors = MaxExtent*2 + 10
	var b Builder
	b.Add(Record{Extent: block.Extent{Count: h.Disks[0].Sectors}, Kind: block.Zero})
	sealed, _, err := b.Seal(h, testKey, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(sealed, testKey)
	if err != nil {
		t.Fatal(err)
	}
	var sum block.Count
	for r, err := range s.Records() {
		if err != nil {
			t.Fatal(err)
		}
		sum += r.Extent.Count
	}
	if sum != h.Disks[0].Sectors {
		t.Errorf("%d sectors came back, want %d", sum, h.Disks[0].Sectors)
	}
}

func TestASealHasNoRecordsAndNeedsNoKey(t *testing.T) {
	h := testHeader()
	h.Seal, h.Copy, h.Jump, h.Marker, h.FirstLSN = true, false, false, false, h.LastLSN+1
	a, hash, err := SealMarker(h)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := SealMarker(h)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two writers of one seal disagree")
	}
	s, err := Open(a, DataKey{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h, s.Header()); d != "" || s.Hash() != hash {
		t.Errorf("hash %v, want %v; header (-want +got):\n%s", s.Hash(), hash, d)
	}
	for range s.Records() {
		t.Error("a seal gave a record")
	}
}

func TestCleanNeedsEveryDiskThatIsNotJoining(t *testing.T) {
	rows := []struct {
		name  string
		disks []Disk
		want  bool
	}{
		{"no disk", nil, false},
		{"one clean", []Disk{{Clean: true}}, true},
		{"one unclean", []Disk{{}}, false},
		{"clean and joining", []Disk{{Clean: true}, {Joining: true}}, true},
		{"clean and unclean", []Disk{{Clean: true}, {}}, false},
		{"only joining", []Disk{{Joining: true, Clean: true}}, false},
	}
	for _, r := range rows {
		if got := (Header{Disks: r.disks}).Clean(); got != r.want {
			t.Errorf("%s: Clean() = %v, want %v", r.name, got, r.want)
		}
	}
}
