package processserver

import (
	"os"
	"path/filepath"
	"testing"

	"farshore/dataplane/block"
	"farshore/dataplane/segment"
	"farshore/fault"
	"farshore/tests/flips"
)

// What is read back from the spool is what was written, or is called lost with its file (FS-2106).
func TestNoFlippedBitInASpooledSegmentGoesUnnoticed(t *testing.T) {
	s := openTestSpool(t, t.TempDir(), 1<<20)
	p := at(3)
	var b segment.Builder
	b.Add(segment.Record{Extent: block.Extent{Start: 5, Count: 3}, Data: make([]byte, 3*block.SectorSize)})
	sealed, _, err := b.Seal(segment.Header{
		Machine: "web-01", Generation: p.Generation, Epoch: p.Epoch, Seq: p.Seq, FirstLSN: 1, LastLSN: 1, Disks: []segment.Disk{{ID: "sda", Sectors: 64}},
	}, segment.DataKey{1}, [32]byte{2})
	must(t, err)
	e, err := s.put(t.Context(), "web-01", p, sealed)
	must(t, err)
	flips.Try(t, flips.Object{
		Kind: "spooled segment", Stored: sealed,
		Read: func(stored []byte) error {
			must(t, os.WriteFile(e.path, stored, 0o600))
			_, _, err := s.read(e)
			return err
		},
		Tells: func(err error, _ int) bool {
			f, ok := fault.As(err)
			return ok && f.Code == "FS-2106" && filepath.Base(f.Subject) == filepath.Base(e.path)
		},
	})
}
