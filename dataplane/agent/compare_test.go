package agent

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/hashes"
	"farshore/dataplane/journal"
)

func TestASetSaysWhatItHoldsAndMeets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sectors := block.Count(rapid.IntRange(1, 3000).Draw(t, "sectors"))
		b, err := openBitset("", sectors)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close() // anonymous memory
		draw := func(name string) block.Extent {
			start := rapid.IntRange(0, int(sectors)-1).Draw(t, name)
			return block.Extent{Start: block.Sector(start), Count: block.Count(rapid.IntRange(1, int(sectors)-start).Draw(t, name))}
		}
		for range rapid.IntRange(0, 6).Draw(t, "marks") {
			b.Mark(draw("mark"))
		}
		set, asked := collect(b), draw("asked")
		const unit = 1 << minUnitShift
		whole := block.Extent{Start: asked.Start / unit * unit}
		whole.Count = min((block.Count(asked.End())+unit-1)/unit*unit, sectors) - block.Count(whole.Start)
		if got := b.holds(asked); got != set.Contains(whole) {
			t.Errorf("%v holds %v: %v", set, asked, got)
		}
		if got := b.meets(asked); got != set.Overlaps(whole) {
			t.Errorf("%v meets %v: %v", set, asked, got)
		}
	})
}

func TestAChunkIsEqualIfWhatIsOwedOfItIs(t *testing.T) {
	const sectors = 3*hashes.ChunkSectors - 100
	base, err := openBitset("", sectors)
	if err != nil {
		t.Fatal(err)
	}
	defer base.close() // anonymous memory
	s := &source{base: base}
	secret := hashes.Secret{1}
	chunk := block.Extent{Start: hashes.ChunkSectors, Count: hashes.ChunkSectors}
	used := bytes.Repeat([]byte("used"), hashes.ChunkBytes/8)
	junk := bytes.Repeat([]byte("junk"), hashes.ChunkBytes/8)
	offered := func(content []byte) *hashes.Part {
		h := secret.Hasher("d")
		return &hashes.Part{Sectors: sectors, Chunks: []hashes.Chunk{{Zero: true}, h.Chunk(1, content), {Zero: true}}}
	}
	equal := func(p *hashes.Part, content []byte) bool {
		return sameChunk(p, secret.Hasher("d"), chunk, content) || s.sameOwed(p, secret.Hasher("d"), chunk, content)
	}
	both := func(a, b []byte) []byte { return append(bytes.Clone(a), b...) }
	zeros := make([]byte, len(junk))
	base.fill()
	if !equal(offered(both(used, junk)), both(used, junk)) || equal(offered(both(used, zeros)), both(used, junk)) {
		t.Error("a chunk that is owed wholly is not compared wholly")
	}
	base.remove(block.Extent{Start: chunk.Start + hashes.ChunkSectors/2, Count: hashes.ChunkSectors / 2}) // nothing uses its second half
	if !equal(offered(both(used, zeros)), both(used, junk)) || equal(offered(both(junk, zeros)), both(used, junk)) {
		t.Error("a chunk that is owed by half is not compared by that half")
	}
	last := block.Extent{Start: 2 * hashes.ChunkSectors, Count: hashes.ChunkSectors - 100}
	if !sameChunk(offered(used), secret.Hasher("d"), last, make([]byte, last.Count.Bytes())) {
		t.Error("the last chunk is not compared")
	}
	last.Count++ // the disk grew
	if sameChunk(offered(used), secret.Hasher("d"), last, make([]byte, last.Count.Bytes())) {
		t.Error("a chunk that had another length is taken for equal")
	}
	behind := block.Extent{Start: 3 * hashes.ChunkSectors, Count: hashes.ChunkSectors}
	if sameChunk(offered(used), secret.Hasher("d"), behind, make([]byte, behind.Count.Bytes())) {
		t.Error("a chunk that was not there is taken for equal")
	}
}

func TestATicketCanBeHadWithoutAsking(t *testing.T) {
	r := &resync{asked: map[farshore.DiskID]bool{"a": true}}
	ticket := journal.Ticket{Hashes: []byte{1}, Disks: []journal.TicketDisk{{ID: "a", Sectors: 8, Owes: true, From: 3}}}
	r.withdraw(&ticket)
	if ticket.Hashes != nil || ticket.Disks[0] != (journal.TicketDisk{ID: "a", Sectors: 8}) || len(r.asked) > 0 {
		t.Errorf("the ticket still asks: %+v", ticket)
	}
}
