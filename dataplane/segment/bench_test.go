package segment

import (
	"math/rand/v2"
	"testing"

	"farshore/dataplane/block"
)

// halfText fills a block so that it compresses about two to one, as disks do.
func halfText(rnd *rand.Rand, b []byte) {
	for i := range b {
		if i%64 < 32 {
			b[i] = byte(rnd.Uint32())
		} else {
			b[i] = 'x'
		}
	}
}

func fill(b *Builder, data []byte, order []int) {
	for _, i := range order {
		b.Add(Record{Extent: block.Extent{Start: block.Sector(i) * 8, Count: 8}, Data: data[i%64*4096 : i%64*4096+4096]})
	}
}

// BenchmarkAddScatteredBlocks adds 8 MiB of 4 KiB blocks in random order.
func BenchmarkAddScatteredBlocks(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	order := rnd.Perm(2048)
	data := make([]byte, 64*4096)
	var builder Builder
	b.SetBytes(8 << 20)
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset()
		fill(&builder, data, order)
	}
}

// BenchmarkSeal seals 8 MiB of scattered blocks that compress two to one.
func BenchmarkSeal(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 64*4096)
	halfText(rnd, data)
	h := testHeader()
	h.Disks[0].Sectors = 2048 * 8
	var builder Builder
	fill(&builder, data, rnd.Perm(2048))
	b.SetBytes(8 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := builder.Seal(h, testKey, testSalt); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen reads the same segment back.
func BenchmarkOpen(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 64*4096)
	halfText(rnd, data)
	h := testHeader()
	h.Disks[0].Sectors = 2048 * 8
	var builder Builder
	fill(&builder, data, rnd.Perm(2048))
	sealed, _, err := builder.Seal(h, testKey, testSalt)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(8 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if err := readAll(sealed, testKey); err != nil {
			b.Fatal(err)
		}
	}
}
