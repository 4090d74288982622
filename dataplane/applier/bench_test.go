package applier

import (
	"math/rand/v2"
	"testing"

	"farshore"
	"farshore/dataplane/block"
	"farshore/dataplane/segment"
)

// benchmarkStream writes segments of 8 MiB to a disk of 256 MiB: in order as a base copy does, or 4 KiB here and there.
func benchmarkStream(b *testing.B, w *world, scattered bool) {
	b.Helper()
	const blocks = 256 << 20 / 4096
	w.Sizes = []segment.Disk{{ID: "sda", Sectors: blocks * 8}}
	content := make([]byte, 4096)
	at := 0
	for range 16 {
		var s segment.Builder
		lsn := w.Writer.Tip().LastLSN
		first := lsn + 1
		for range 8 << 20 / 4096 {
			for i := 0; i < len(content); i += 8 {
				content[i] = byte(w.Random.Uint32())
			}
			if at++; scattered {
				at = rand.IntN(blocks)
			}
			s.Add(segment.Record{Extent: block.Extent{Start: block.Sector(at * 8), Count: 8}, Data: content})
			lsn++
		}
		w.Content = map[farshore.DiskID][]byte{}
		w.Commit(&s, first, lsn, false)
	}
}

func BenchmarkReplica(b *testing.B) {
	for name, scattered := range map[string]bool{"base copy": false, "scattered 4 KiB": true} {
		b.Run(name, func(b *testing.B) {
			s, r := fileVault(b)
			w := newWorld(b, 1, s, r)
			benchmarkStream(b, w, scattered)
			b.SetBytes(16 * 8 << 20)
			for b.Loop() {
				if err := w.catchUp(b.Context(), w.applier(s, r)); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				w.wipe()
				b.StartTimer()
			}
		})
	}
}
