package agent

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"farshore/dataplane/block"
	"farshore/dataplane/hashes"
)

const unitSectors = 1 << minUnitShift

// TestAResyncLeavesTheReplicaEqual compares a disk with what its replica held at the seal, while programs write: what is
// owed and differs is sent, what changed meanwhile is sent behind it, what nothing uses may be anything. The decision and
// the bitmaps are the agent's own. Hashes of any other place than the seal make this fail.
func TestAResyncLeavesTheReplicaEqual(t *testing.T) {
	const chunks, perChunk = 2, hashes.ChunkSectors / unitSectors
	patterns := [][]byte{make([]byte, unitSectors*block.SectorSize), bytes.Repeat([]byte{1}, unitSectors*block.SectorSize), bytes.Repeat([]byte{2}, unitSectors*block.SectorSize)}
	secret := hashes.Secret{7}
	rapid.Check(t, func(rt *rapid.T) {
		units := perChunk*(chunks-1) + rapid.IntRange(1, perChunk).Draw(rt, "units of the last chunk")
		disk, replica := make([]int, units), make([]int, units)
		free, pending := make([]bool, units), map[int]bool{}
		base, err := openBitset("", block.Count(units*unitSectors))
		if err != nil {
			rt.Fatal(err)
		}
		defer base.close() // memory only
		s := &source{base: base}
		at := func(u int) block.Extent {
			return block.Extent{Start: block.Sector(u * unitSectors), Count: unitSectors}
		}
		few := rapid.IntRange(0, units).Draw(rt, "units that differ or are not owed")
		for u := range units {
			base.Mark(at(u))
		}
		for range few {
			u := rapid.IntRange(0, units-1).Draw(rt, "unit")
			switch disk[u] = rapid.IntRange(0, 2).Draw(rt, "on the disk"); rapid.IntRange(0, 3).Draw(rt, "what it is") {
			case 0: // nothing uses it: the stream was told so, and the replica has zeros
				free[u], replica[u] = true, 0
				base.remove(at(u))
			case 1: // durable already
				free[u], replica[u] = false, disk[u]
				base.remove(at(u))
			default:
				free[u], replica[u] = false, rapid.IntRange(0, 2).Draw(rt, "on the replica")
				base.Mark(at(u))
			}
		}
		read := func(of []int, e block.Extent) []byte {
			var b []byte
			for u := int(e.Start) / unitSectors; u < int(e.End())/unitSectors; u++ {
				b = append(b, patterns[of[u]]...)
			}
			return b
		}
		chunkAt := func(i int) block.Extent {
			first := i * perChunk
			return block.Extent{Start: block.Sector(first * unitSectors), Count: block.Count(min(perChunk, units-first) * unitSectors)}
		}
		part := &hashes.Part{Sectors: block.Count(units * unitSectors)}
		for i := range chunks {
			part.Chunks = append(part.Chunks, secret.Hasher("d").Chunk(uint64(i), read(replica, chunkAt(i))))
		}
		for i := range chunks {
			chunk := chunkAt(i)
			content := read(disk, chunk)
			for range rapid.IntRange(0, 2).Draw(rt, "writes behind the read") { // tracked, so pending
				u := rapid.IntRange(0, units-1).Draw(rt, "written")
				disk[u], pending[u], free[u] = rapid.IntRange(0, 2).Draw(rt, "now"), true, false
			}
			if sameChunk(part, secret.Hasher("d"), chunk, content) || s.sameOwed(part, secret.Hasher("d"), chunk, content) {
				base.remove(chunk)
				continue
			}
			for u := int(chunk.Start) / unitSectors; u < int(chunk.End())/unitSectors; u++ {
				if base.holds(at(u)) { // it is sent as it was read
					replica[u] = int(content[(u*unitSectors-int(chunk.Start))*block.SectorSize])
				}
			}
			base.remove(chunk)
		}
		for u := range pending {
			replica[u] = disk[u]
		}
		for u := range units {
			if !free[u] && replica[u] != disk[u] {
				rt.Fatalf("unit %d of %d is %d on the disk and %d on the replica", u, units, disk[u], replica[u])
			}
		}
	})
}
