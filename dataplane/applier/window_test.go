package applier

import (
	"bytes"
	"testing"

	"farshore/dataplane/block"
	"farshore/dataplane/journal"
	"farshore/dataplane/segment"
)

func TestAWindowOfSegmentsThatCompressWellIsBounded(t *testing.T) {
	s, r := fileVault(t)
	w := newWorld(t, 1, s, r)
	const each = block.Count(8 << 20 / block.SectorSize)
	const segments = 20
	w.Sizes = []segment.Disk{{ID: "sda", Sectors: segments * each}}
	data := bytes.Repeat([]byte("log line 0123456"), int(each.Bytes())/16)
	for i := range segments {
		var b segment.Builder
		b.Add(segment.Record{Kind: block.Data, Extent: block.Extent{Start: block.Sector(i) * block.Sector(each), Count: each}, Data: data})
		lsn := w.Writer.Tip().LastLSN + 1
		w.Commit(&b, lsn, lsn, false)
	}
	from := journal.Reader{Vault: w.vault.ID}.Start(web, 1)
	for read := 0; read < segments; {
		win, err := gather(t.Context(), w.reader(s), gathering{from: from})
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := win.merge("sda", from.Position)
		if err != nil {
			t.Fatal(err)
		}
		var held int64
		for _, p := range pieces {
			held += int64(len(p.data))
		}
		if held == 0 || held > windowContent+each.Bytes() || held > win.content {
			t.Fatalf("%d segments of %d bytes hold %d bytes, %d counted", len(win.segments), win.sealed, held, win.content)
		}
		from, read = win.to, read+len(win.segments)
	}
}
